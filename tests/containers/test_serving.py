"""What docker/serving shows, against a SavedModel of the pipeline; TensorFlow Serving isn't run."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVING = Path(__file__).parents[2] / "docker" / "serving"


@pytest.fixture(scope="module")
def signature(prepared: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The signature of a model trained for an epoch on made-up reviews."""
    import tensorflow as tf

    from components.export.export import export
    from components.shared.config import TrainConfig
    from components.train.train import train

    folder = tmp_path_factory.mktemp("served")
    config = TrainConfig(embedding_size=4, hidden_size=4, bigram_vocabulary_size=0, num_epochs=1)
    model, model_run = folder / "model", folder / "model_run"
    train(prepared.examples, prepared.vocabulary, config, model, model_run, None)
    export(model, prepared.vocabulary, folder / "1")
    loaded = tf.saved_model.load(str(folder / "1"))
    yield loaded.signatures["serving_default"]


def test_the_request_fits_the_signature(signature: Any) -> None:
    import tensorflow as tf

    request = json.loads((SERVING / "request.json").read_text())
    assert request["signature_name"] == "serving_default"
    # So TensorFlow Serving reads a row of a signature that has one input.
    (name,) = signature.structured_input_signature[1]
    answer = signature(**{name: tf.constant(request["instances"])})
    columns = {key: value.numpy().tolist() for key, value in answer.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert [set(row) for row in rows] == [{"probability", "label"}] * len(request["instances"])
    assert all(row["label"] == (row["probability"] >= 0.5) for row in rows)


def test_the_readme_shows_the_request_that_is_there() -> None:
    text = (SERVING / "README.md").read_text()
    for instance in json.loads((SERVING / "request.json").read_text())["instances"]:
        assert instance in text


def test_the_manifest_names_kserve_s_runtime_for_tensorflow() -> None:
    manifest = yaml.safe_load((SERVING / "inference-service.yaml").read_text())
    assert manifest["apiVersion"] == "serving.kserve.io/v1beta1"
    assert manifest["kind"] == "InferenceService"
    model = manifest["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow", "version": "2"}
    assert model["storageUri"].startswith("pvc://")
