"""Accelerators of a task: how many it was promised, and tasks that use none.

Nothing here imports TensorFlow.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from components.shared.errors import InputError

PROMISED_VARIABLE = "IMDB_PIPELINE_ACCELERATORS"
"""The environment variable with the number of accelerators that a pod or container was given."""

ACCELERATED_TASKS = ("train", "trial")
"""Those that use GPUs."""

_VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"


def accelerators_of(task: str) -> AbstractContextManager[None]:
    """Hides all GPUs in the block where a task uses none; see `without_accelerators`."""
    return nullcontext() if task in ACCELERATED_TASKS else without_accelerators()


@contextmanager
def without_accelerators() -> Iterator[None]:
    """Hides all GPUs from TensorFlow in this process and in those that it starts.

    TensorFlow must not have been initialized before; it then sees no GPU later either.
    """
    before = os.environ.get(_VISIBLE_VARIABLE)
    os.environ[_VISIBLE_VARIABLE] = "-1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VISIBLE_VARIABLE]
        else:
            os.environ[_VISIBLE_VARIABLE] = before


def promised_accelerators(configured: int, environment: Mapping[str, str] = os.environ) -> int:
    """The number of accelerators that training must see.

    Args:
        configured: the configuration's `accelerators`.
        environment: holds `PROMISED_VARIABLE` where a pod or container was given accelerators.

    Raises:
        InputError: the variable holds no number.
    """
    text = environment.get(PROMISED_VARIABLE, "").strip() or "0"
    if not text.isdecimal():
        raise InputError(
            f"{PROMISED_VARIABLE}={text}: not a number of accelerators; unset it, or set it to one"
        )
    return max(configured, int(text))


def hidden_by_environment(promised: int, environment: Mapping[str, str] = os.environ) -> str | None:
    """`CUDA_VISIBLE_DEVICES`, as it is set, where it shows fewer GPUs than promised; else None.

    CUDA reads a list of numbers or ids, up to the first that it doesn't know, such as -1.
    """
    text = environment.get(_VISIBLE_VARIABLE)
    if text is None:
        return None
    shown = 0
    for name in text.split(","):
        if not name.strip() or name.strip().startswith("-"):
            break
        shown += 1
    return f"{_VISIBLE_VARIABLE}={text}" if shown < promised else None


def devices_text(devices: Mapping[str, object]) -> str:
    """What a model was trained on, for a reader: what `train` records as `devices`."""
    count, kind, name = devices["count"], devices["kind"], devices["name"]
    return f"{count} {kind}{'' if count == 1 else 's'}: {name}"
