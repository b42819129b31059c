"""Asks the served model what reviews say."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from components.shared.accelerators import without_accelerators
from components.shared.errors import InputError
from components.shared.registry.registry import RESTORE_VERSION, Registry

_BATCH_SIZE = 256

Serve = Callable[..., dict[str, Any]]


def predict(
    serving_dir: str, texts: Iterable[bytes], batch_size: int = _BATCH_SIZE
) -> Iterator[dict[str, Any]]:
    """Judges reviews with the newest version in a registry.

    Args:
        serving_dir: the registry, a local path or a URL.
        texts: the reviews, UTF-8; what isn't reaches the model as it is.
        batch_size: how many are judged, and given back, at a time.

    Yields:
        For each review, in order: `text`, `label` ("positive" or "negative"), `probability` (of
        positive, 0 to 1), and `version`.

    Raises:
        InputError: there is no model, or it was changed since it was published.
    """
    version, serve = _load(serving_dir)
    texts = iter(texts)
    while batch := list(islice(texts, batch_size)):
        for text, (probability, label) in zip(batch, _judge(serve, batch), strict=True):
            yield {
                "text": text.decode("utf-8", "replace"),
                "label": "positive" if label else "negative",
                "probability": probability,
                "version": version,
            }


def _load(serving_dir: str) -> tuple[int, Serve]:
    """The version that is served, and its signature."""
    registry = Registry.open(serving_dir)
    entry = registry.served()
    if entry is None:
        if champion := registry.champion():
            raise InputError(
                f"{registry.location}/{champion.version}: the SavedModel of the champion, version "
                f"{champion.version}, is missing, and no other version is there; see what can be "
                f"done: imdb-pipeline models repair; or {RESTORE_VERSION}"
            )
        raise InputError(
            f"{registry.location}: holds no model yet; push one with `imdb-pipeline run "
            f"--serving-dir {registry.location}`"
        )
    with (
        tempfile.TemporaryDirectory(prefix="imdb-pipeline-") as scratch,
        without_accelerators(),
        _without_noise(),
    ):
        path = registry.fetch(entry.version, Path(scratch) / "model")
        # TensorFlow takes seconds to import, which a mistake should not wait for.
        from components.shared.saved_models import load_saved_model

        return entry.version, load_saved_model(path).signatures["serving_default"]


def _judge(serve: Serve, texts: list[bytes]) -> list[tuple[float, int]]:
    import tensorflow as tf

    outputs = serve(text=tf.constant(texts, tf.string))
    return list(
        zip(outputs["probability"].numpy().tolist(), outputs["label"].numpy().tolist(), strict=True)
    )


@contextmanager
def _without_noise() -> Iterator[None]:
    """Keeps what TensorFlow's C++ code has to say while it starts off the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_error = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
