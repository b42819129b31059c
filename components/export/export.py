"""Export: a SavedModel for CPU and GPU servers alike, proved in a clean process."""

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.export import clean_process
from components.export.serving import SentimentServer, save
from components.export.warmup import write_warmup_requests
from components.shared.artifacts import atomic_directory
from components.shared.features import VOCABULARY_FILE, Features, read_vocabulary
from components.shared.model_files import load_model
from components.shared.tokenizer import TextEncoder

TOLERANCE = 1e-6
_SENTENCE = "A fine film, and I don't say so lightly: see it! "
_QUERIES: list[list[bytes]] = [
    [b""],
    [b"   <br /> ... "],
    ["\U0001f600\U0001f44d\U0001f3fd \u00e9patant !".encode()],
    [(_SENTENCE * (1_000_000 // len(_SENTENCE) + 1)).encode()],
    [b"\xff\xfe\x00 not \xc3( UTF-8 \xe2\x82"],
    [(_SENTENCE * (i % 40)).encode() for i in range(1_000)],
    [],
]


def export(model: str | Path, vocabulary: str | Path, saved_model: str | Path) -> dict[str, Any]:
    """Builds the SavedModel on the CPU, then loads and queries it with TensorFlow alone.

    Args:
        model: the folder of the trained Keras model.
        vocabulary: the folder of the vocabulary that it was trained with.
        saved_model: the folder to make.

    Returns:
        `megabytes` (its size, in 10^6 bytes) and `max_difference` (the greatest difference of a
        probability from the training-side model's).

    Raises:
        InputError: the model or vocabulary is missing, damaged, or not of the other.
        RuntimeError: the SavedModel doesn't stand the check.
    """
    # A graph that is built where a GPU is visible may hold operations that a CPU server lacks.
    tf.config.set_visible_devices([], "GPU")
    keras_model, features = load_model(model)
    read_vocabulary(vocabulary, features)
    server = _server(keras_model, features, Path(vocabulary))
    with atomic_directory(saved_model) as staging:
        save(server, staging)
        write_warmup_requests(staging)
        difference = check(staging, server)
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
    return {"megabytes": round(size / 1e6, 2), "max_difference": difference}


def check(saved_model: Path, server: SentimentServer) -> float:
    """Queries the SavedModel in a clean process and compares its answers with the model's own.

    Raises:
        RuntimeError: it can't be loaded, differs by more than `TOLERANCE`, or holds a cuDNN op.
    """
    with tempfile.TemporaryDirectory() as directory:
        queries, answers = Path(directory) / "queries.json", Path(directory) / "answers.json"
        encoded = [[base64.b64encode(text).decode() for text in batch] for batch in _QUERIES]
        queries.write_text(json.dumps(encoded))
        script = clean_process.__file__
        subprocess.run(
            [sys.executable, "-I", script, str(saved_model), str(queries), str(answers)],
            check=True,
            cwd=directory,
        )
        result = json.loads(answers.read_text())
    foreign = [name for name in result["operations"] if "cudnn" in name.lower()]
    if foreign:
        raise RuntimeError(f"the SavedModel holds operations for GPUs alone: {foreign}")
    differences = [
        np.abs(np.array(answer) - _training_side(server, batch)).max(initial=0.0)
        for answer, batch in zip(result["probabilities"], _QUERIES, strict=True)
    ]
    difference = float(max(differences))
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the SavedModel's answers are off by {difference}, over {TOLERANCE}")
    return difference


def _server(model: keras.Model, features: Features, vocabulary: Path) -> SentimentServer:
    encoder = TextEncoder(vocabulary / VOCABULARY_FILE, features.max_length, features.truncating)
    return SentimentServer(model, encoder, pad_left=not model.config["masked"])


def _training_side(server: SentimentServer, batch: list[bytes]) -> np.ndarray:
    """The probabilities that the model itself gives, float32 `[batch]`."""
    return server.serve(tf.constant(batch, tf.string, [len(batch)]))["probability"].numpy()
