"""The folder of a trained model: train writes it, export reads it."""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from components.shared.artifacts import read_json, write_json
from components.shared.errors import InputError
from components.shared.features import Features
from components.shared.model import SentimentRNN

MODEL_FILE = "model.keras"
TRAINING_FILE = "training.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def save_model(
    model: SentimentRNN, features: Features, config: dict[str, Any], directory: Path
) -> None:
    """Writes `model.keras` and, in `training.json`, what it was trained with.

    The same weights give the same bytes.
    """
    path = directory / MODEL_FILE
    with _temporary_files_without_backslash():
        model.save(path)
    _remove_times(path)
    write_json(directory / TRAINING_FILE, {"features": asdict(features), "train": config})


def load_model(directory: str | Path) -> tuple[SentimentRNN, Features]:
    """Reads what `save_model` wrote.

    Raises:
        InputError: a file is missing or damaged.
    """
    path = Path(directory) / MODEL_FILE
    features = Features(**read_json(Path(directory) / TRAINING_FILE)["features"])
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise InputError(f"{path}: not a readable Keras model ({error}); train again") from error
    return model, features


@contextmanager
def _temporary_files_without_backslash() -> Iterator[None]:
    """Replaces a folder for temporary files with a backslash in its path by `/tmp`.

    Keras's `DiskIOStore` writes a slash for each backslash, and makes folders elsewhere.
    """
    default = tempfile.gettempdir()
    try:
        if "\\" in default:
            tempfile.tempdir = "/tmp"
        yield
    finally:
        tempfile.tempdir = default


def _remove_times(path: Path) -> None:
    """Rewrites a .keras archive without the times at which it and its members were written."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
