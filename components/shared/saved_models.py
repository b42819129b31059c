"""Loads SavedModels from directories of any name."""

import contextlib
import re
from pathlib import Path

import tensorflow as tf

_PLAIN_PATH = re.compile(r"[\w./ :@%+=,~-]*")


def load_saved_model(directory: str | Path) -> tf.Module:
    """Loads a SavedModel; `tf.saved_model.load` fails where TensorFlow reads the path as a pattern.

    TensorFlow looks for the variables by `GetMatchingPaths`, which finds nothing below a directory
    with a wildcard in its name, and encodes paths as UTF-8. A relative path is short and plain: so
    such a directory is the working directory of this process while the model is loaded.

    Raises:
        OSError, ValueError, tf.errors.OpError: there is no SavedModel, or it is damaged.
    """
    if _PLAIN_PATH.fullmatch(str(directory)):
        return tf.saved_model.load(str(directory))
    with contextlib.chdir(directory):
        return tf.saved_model.load(".")
