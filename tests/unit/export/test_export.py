"""The SavedModel: what it holds, and that it answers as training would."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import prediction_log_pb2

from components.evaluate.served import ServedModel
from components.export import export as export_module
from components.export.clean_process import operations
from components.export.export import export
from components.shared.artifacts import directory_sha256
from components.shared.config import PreprocessConfig, TrainConfig
from components.shared.errors import InputError
from components.shared.features import read_records, shard_name
from components.shared.model_files import load_model, save_model
from components.shared.tokenizer import TextEncoder
from components.train.train import train

SOAK = Path(__file__).parents[3] / "tests" / "benchmarks" / "soak.py"


@pytest.fixture(scope="module", params=["right", "left"])
def trained(request, prepared, tmp_path_factory) -> Path:
    """A model of a few steps, padded on that side."""
    root = tmp_path_factory.mktemp(request.param)
    config = TrainConfig(
        cell="lstm" if request.param == "right" else "simple_rnn",
        padding=request.param,
        pooling="max_mean" if request.param == "right" else "last",
        embedding_size=8,
        hidden_size=4,
        bigram_vocabulary_size=40,
        bigram_embedding_size=4,
        region_embedding_size=4 if request.param == "right" else 0,
        linear_ngrams=2 if request.param == "right" else 0,
        num_epochs=1,
    )
    train(prepared.examples, prepared.vocabulary, config, root / "model", root / "run", None)
    return root / "model"


@pytest.fixture(scope="module")
def saved_model(trained, prepared) -> Path:
    path = trained.parent / "saved_model"
    summary = export(trained, prepared.vocabulary, path)
    assert summary["max_difference"] <= 1e-6
    return path


@pytest.fixture(scope="module")
def loaded(saved_model):
    return tf.saved_model.load(str(saved_model))


@pytest.fixture(scope="module")
def serve(loaded):
    return loaded.signatures["serving_default"]


def test_the_signature_is_the_documented_one(serve) -> None:
    (text,) = serve.structured_input_signature[1].values()
    assert (text.dtype, text.shape.as_list()) == (tf.string, [None])
    outputs = {
        name: (spec.dtype, spec.shape.as_list()) for name, spec in serve.structured_outputs.items()
    }
    assert outputs == {"probability": (tf.float32, [None]), "label": (tf.int64, [None])}


@pytest.mark.parametrize(("cell", "layers"), [("gru", 1), ("min_gru", 1), ("lstm", 2)])
def test_other_recurrences_are_exported(prepared, tmp_path, cell, layers) -> None:
    config = TrainConfig(
        cell=cell, num_layers=layers, embedding_size=4, hidden_size=3, dropout_rate=0.0,
        num_epochs=1,
    )  # fmt: skip
    model = tmp_path / "model"
    train(prepared.examples, prepared.vocabulary, config, model, tmp_path / "run", None)
    saved = tmp_path / "saved_model"
    assert export(model, prepared.vocabulary, saved)["max_difference"] <= 1e-6
    texts = [b"", b"a delightful film", b"tedious and dull " * 40]
    serve = tf.saved_model.load(str(saved)).signatures["serving_default"]
    expected = training_side(model, prepared.vocabulary, texts)
    answers = serve(text=tf.constant(texts))["probability"]
    np.testing.assert_allclose(answers, expected, atol=1e-6, rtol=0)


def training_side(model_dir: Path, vocabulary: Path, texts: list[bytes]) -> np.ndarray:
    """The model's probabilities, one review at a time and padded as the batches of training are."""
    model, features = load_model(model_dir)
    encoder = TextEncoder(vocabulary / "vocabulary.txt", features.max_length, features.truncating)
    probabilities = []
    for row in encoder(tf.constant(texts)).to_list():
        padding = [0] * (features.max_length - len(row))
        token_ids = row + padding if model.config["masked"] else padding + row
        probabilities.append(tf.sigmoid(model(tf.constant([token_ids], tf.int32)))[0].numpy())
    return np.array(probabilities)


def test_answers_equal_the_training_sides(trained, prepared, serve) -> None:
    texts = [b"", b"a delightful film", b"tedious and dull " * 40, "naïve 😀".encode(), b"\xff\xfe"]
    expected = training_side(trained, prepared.vocabulary, texts)
    answers = serve(text=tf.constant(texts))
    np.testing.assert_allclose(answers["probability"], expected, atol=1e-6, rtol=0)
    assert answers["label"].numpy().tolist() == (expected >= 0.5).astype(int).tolist()


@settings(max_examples=60)
@given(texts=st.lists(st.one_of(st.text(), st.binary()), min_size=1, max_size=4))
def test_an_answer_does_not_depend_on_the_batch(serve, texts) -> None:
    encoded = [t.encode("utf-8", "surrogatepass") if isinstance(t, str) else t for t in texts]
    together = serve(text=tf.constant(encoded))["probability"].numpy()
    alone = [serve(text=tf.constant([text]))["probability"].numpy()[0] for text in encoded]
    np.testing.assert_allclose(together, alone, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def write_record(prepared, tmp_path_factory) -> Callable[[bytes], tf.train.Example]:
    """Encodes a text as preprocessing does, with the vocabulary of `prepared`."""
    from components.preprocess.transforms import Encode, ReviewFile

    folder = tmp_path_factory.mktemp("records")
    file = ReviewFile("train", str(folder / "reviews"), place=0, files=1)
    encode = Encode(PreprocessConfig(vocabulary_size=60, max_length=32), str(folder))
    vocabulary = (prepared.vocabulary / "vocabulary.txt").read_bytes()

    def write(text: bytes) -> tf.train.Example:
        review = tf.train.Example()
        for name, value in (("id", b"id"), ("text", text)):
            review.features.feature[name].bytes_list.value.append(value)
        review.features.feature["label"].int64_list.value.append(1)
        with tf.io.TFRecordWriter(file.location) as writer:
            writer.write(review.SerializeToString())
        list(encode.process(file.to_element(), vocabulary))
        (record,) = read_records(folder / "train" / shard_name(0, 1), 1)
        return tf.train.Example.FromString(record.numpy()[0])

    return write


@settings(max_examples=200)
@given(text=st.one_of(st.text(), st.binary()))
def test_token_ids_in_the_saved_model_equal_those_in_a_record(loaded, write_record, text) -> None:
    encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    feature = write_record(encoded).features.feature
    in_record = list(feature["token_ids"].int64_list.value)
    assert loaded.encode(tf.constant([encoded])).to_list() == [in_record]
    assert feature["length"].int64_list.value == [len(in_record)]


def test_the_graph_holds_core_operations_alone(saved_model) -> None:
    found = operations(saved_model)
    assert "StatelessWhile" in found or "While" in found  # the recurrence is there
    assert not [name for name in found if "cudnn" in name.lower() or name.startswith("Xla")]
    tf.raw_ops  # noqa: B018
    assert all(hasattr(tf.raw_ops, name) for name in found if not name.startswith("_"))


def test_it_holds_the_vocabulary_and_warm_up_requests(saved_model, prepared, serve) -> None:
    asset = saved_model / "assets" / "vocabulary.txt"
    assert asset.read_bytes() == (prepared.vocabulary / "vocabulary.txt").read_bytes()
    path = saved_model / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert len(logs) == 3
    for log in logs:
        request = log.predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        text = tf.constant(tf.make_ndarray(request.inputs["text"]))
        assert len(serve(text=text)["label"]) == len(text)


@pytest.mark.parametrize("trained", ["right"], indirect=True)
def test_the_same_model_gives_the_same_bytes(trained, prepared, tmp_path) -> None:
    """In processes of their own, as the task runs, and wherever the inputs lie."""
    code = "import sys; from components.export.export import export; export(*sys.argv[1:])"
    vocabulary = shutil.copytree(prepared.vocabulary, tmp_path / "elsewhere" / "vocabulary")
    for seed, read, made in (("1", prepared.vocabulary, "first"), ("2", vocabulary, "second")):
        subprocess.run(
            [sys.executable, "-c", code, str(trained), str(read), str(tmp_path / made)],
            check=True,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[3]),
                "PYTHONHASHSEED": seed,
            },
        )
    assert directory_sha256(tmp_path / "first") == directory_sha256(tmp_path / "second")


def test_a_saved_model_that_answers_otherwise_is_refused(
    trained, prepared, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(
        export_module, "_training_side", lambda server, batch: np.full(len(batch), 0.5)
    )
    with pytest.raises(RuntimeError, match="the SavedModel's answers are off by"):
        export(trained, prepared.vocabulary, tmp_path / "saved_model")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_or_another_vocabulary_is_named(trained, prepared, tmp_path) -> None:
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "model" / "model.keras").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"model.keras: not a readable Keras model"):
        export(tmp_path / "model", prepared.vocabulary, tmp_path / "saved_model")
    (tmp_path / "vocabulary.txt").write_text("<pad>\n<unk>\nother\n")
    with pytest.raises(InputError, match="not the vocabulary of 60 tokens"):
        export(trained, tmp_path, tmp_path / "saved_model")
    assert not (tmp_path / "saved_model").exists()


def test_a_short_soak_of_the_signature(saved_model) -> None:
    """As tests/benchmarks/soak.py does for long, but to memory: so few requests are a warm-up."""
    spec = importlib.util.spec_from_file_location("soak", SOAK)
    assert spec is not None and spec.loader is not None
    benchmark = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    result = benchmark.soak(ServedModel(saved_model).ask, 150, 4)
    assert result.requests == 150 and result.failures == {}
    assert result.sizes.max() == 256


def test_the_folders_may_have_any_name(
    trained: Path, prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "[a-c]*? \\b"
    (tmp_path / name / "model").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    model, features = load_model(trained)
    save_model(model, features, {}, tmp_path / name / "model")
    export(tmp_path / name / "model", prepared.vocabulary, tmp_path / name / "saved_model")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in (tmp_path / name).iterdir()} == {"model", "saved_model"}


@pytest.mark.parametrize("shape", [[], [1, 1], [2, 0]])
def test_texts_that_are_no_vector_are_refused_in_plain_words(serve, shape) -> None:
    texts = tf.fill(shape, "good")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        serve(text=texts)
    assert "text must be a vector of strings" in str(caught.value)
    assert f"[{' '.join(map(str, shape))}]" in str(caught.value)
