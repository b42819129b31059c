"""A model as servers see it: a SavedModel's signature, raw text in, probabilities out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.evaluate.metrics import Predictions
from components.shared import events
from components.shared.errors import InputError
from components.shared.saved_models import load_saved_model

SIGNATURE = "serving_default"
_INPUTS = {"text": tf.string}
_OUTPUTS = {"probability": tf.float32, "label": tf.int64}
_BATCH_SIZE = 256
_REPORTS = 10


class ServedModel:
    """The `serving_default` signature of a SavedModel."""

    def __init__(self, path: str | Path) -> None:
        """Loads it.

        Raises:
            InputError: there is no SavedModel, it is damaged, or its signature isn't text
                (string `[None]`) to probability (float32 `[None]`) and label (int64 `[None]`).
        """
        self.path = Path(path)
        # A signature doesn't keep the variables that it reads alive.
        self._loaded = _load(self.path)
        self._signature = self._loaded.signatures.get(SIGNATURE)
        if self._signature is None:
            raise InputError(f"{path}: has no signature {SIGNATURE!r}; {_ADVICE}")
        _check("input", self.path, _INPUTS, self._signature.structured_input_signature[1])
        _check("output", self.path, _OUTPUTS, self._signature.structured_outputs)

    def predict(self, texts: Sequence[bytes], name: str) -> Predictions:
        """Asks for each text once.

        Args:
            texts: raw reviews, in UTF-8; at least one.
            name: what to call the model while it works.

        Returns:
            The predictions in the order of `texts`. Which texts share a batch depends on their
            lengths, so that little of it is padding, and not on their order.

        Raises:
            InputError: the model doesn't give one answer for each text.
        """
        order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
        probabilities = np.empty(len(texts), np.float64)
        labels = np.empty(len(texts), np.int64)
        every = max(1, len(order) // _REPORTS)
        for start in range(0, len(order), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            probabilities[rows], labels[rows] = self.ask([texts[row] for row in rows])
            done = start + len(rows)
            if done // every > start // every:
                events.progress(f"{name}: {done:,} of {len(order):,} reviews")
        return Predictions(probabilities, labels)

    def ask(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Sends one request.

        Args:
            texts: raw reviews, in UTF-8.

        Returns:
            The probabilities, float32 `[reviews]`, and labels, int64 `[reviews]`, in their order.

        Raises:
            InputError: the model doesn't give one answer for each text.
        """
        answers = self._signature(text=tf.constant(texts, tf.string))
        probability, label = (answers[name].numpy() for name in _OUTPUTS)
        if not probability.shape == label.shape == (len(texts),):
            raise InputError(
                f"{self.path}: gave probabilities of shape {probability.shape} and labels of shape "
                f"{label.shape} for {len(texts)} reviews; {_ADVICE}"
            )
        return probability, label


_ADVICE = "export the model again"


def _load(path: Path) -> tf.Module:
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: there is no SavedModel; run export first")
    try:
        return load_saved_model(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: a damaged SavedModel ({reason}); {_ADVICE}") from error


def _check(
    kind: str, path: Path, wanted: dict[str, tf.DType], found: dict[str, tf.TensorSpec]
) -> None:
    for name, dtype in wanted.items():
        spec = found.get(name)
        if spec is None or spec.dtype != dtype or spec.shape.rank != 1 or spec.shape[0] is not None:
            is_what = f"is {spec.dtype.name} {spec.shape}" if spec is not None else "is missing"
            raise InputError(
                f"{path}: {kind} {name!r} of its signature {SIGNATURE!r} {is_what}, but must be "
                f"{dtype.name} (None,); {_ADVICE}"
            )
    for name in found.keys() - wanted.keys():
        if kind == "input":
            raise InputError(f"{path}: needs an input {name!r} besides {list(wanted)}; {_ADVICE}")
