"""What a sweep searches: keys of train, each a list of values or a range; and the trials of it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.task_config import unknown_key_message
from pipeline.config import PipelineConfig

_RANGE = re.compile(r"(?P<low>[^.,]*\.?[^.,]*)\.\.(?P<high>[^,]+?)(?P<log>:log)?")
_FORM = "KEY=VALUE,VALUE,... or KEY=LOW..HIGH or KEY=LOW..HIGH:log"
_LARGEST_GRID = 10_000
_DIGITS = 3
"""Of a number out of a range, so that it can be given again."""

Space = dict[str, BaseDistribution]


def parse_space(texts: Sequence[str], config: PipelineConfig) -> Space:
    """The keys to search, and where.

    Args:
        texts: `KEY=VALUE,VALUE,...`, `KEY=LOW..HIGH` or `KEY=LOW..HIGH:log`.
        config: what all trials start from.

    Raises:
        InputError: a text of another form, an unknown key, one of another task, a value of the
            wrong type or out of range.
    """
    space: Space = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not key or not equals or not values:
            raise InputError(f"--search {text!r}: must be {_FORM}")
        _require_of_train(key, config)
        if key in space:
            raise InputError(f"--search {key}: is there twice; give all its values at once")
        found = _RANGE.fullmatch(values)
        space[key] = _range(key, found, config) if found else _choices(key, values, config)
    return space


def size(space: Space) -> int | None:
    """How many combinations there are; None for no end of them."""
    if not all(isinstance(values, CategoricalDistribution) for values in space.values()):
        return None
    return math.prod(len(values.choices) for values in space.values())


def sample(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Draws trials: the values of the keys, no two trials alike; the same seed, the same trials.

    All are drawn before any is trained, as a loop of KFP needs them, and as so few of them, each
    with the error of so few reviews, would teach a sampler that learns very little.

    Args:
        space: the keys.
        count: how many at most; fewer where there aren't so many combinations.
        seed: of the sampler.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    combinations = size(space)
    sampler: optuna.samplers.BaseSampler
    if combinations is not None and combinations <= _LARGEST_GRID:
        count = min(count, combinations)
        grid = {key: list(values.choices) for key, values in space.items()}
        sampler = optuna.samplers.GridSampler(grid, seed=seed)
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    drawn: list[dict[str, Any]] = []
    # A range of whole numbers may hold fewer combinations than were asked for.
    for _ in range(100 * count):
        asked = study.ask(space).params
        values = {key: _shortened(asked[key], space[key]) for key in space}
        if values not in drawn:
            drawn.append(values)
        if len(drawn) == count:
            break
    return drawn


def trials(drawn: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[dict[str, Any]]:
    """The trials as the pipeline takes them, JSON values."""
    return [
        {
            "number": number,
            "searched": list(values),
            "config": TrainConfig.from_mapping({**config.to_mapping(), **values}).to_mapping(),
        }
        for number, values in enumerate(drawn)
    ]


def _require_of_train(key: str, config: PipelineConfig) -> None:
    known = [field.name for field in fields(TrainConfig)]
    if key in known:
        return
    for task, values in config.to_mapping().items():
        if key in values:
            raise InputError(
                f"--search {key}: is a key of {task}; only those of train can be searched, as all "
                f"trials share what the other tasks make. Give it with --set, and sweep once for "
                "each value"
            )
    raise InputError(f"--search {unknown_key_message(key, known)}")


def _choices(key: str, text: str, config: PipelineConfig) -> BaseDistribution:
    texts = [part.strip() for part in text.split(",")]
    values = list(dict.fromkeys(_checked(key, value, config) for value in texts))
    if len(values) < 2:
        raise InputError(f"--search {key}={text}: must be two values or more; --set gives one")
    return CategoricalDistribution(values)


def _range(key: str, found: re.Match[str], config: PipelineConfig) -> BaseDistribution:
    hint = get_type_hints(TrainConfig)[key]
    kind = next((part for part in get_args(hint) or (hint,) if part in (int, float)), None)
    if kind is None:
        raise InputError(f"--search {key}={found[0]}: a range is of numbers; list the values")
    low, high = (_checked(key, found[name], config) for name in ("low", "high"))
    log = found["log"] is not None
    if low is None or high is None or low >= high:
        raise InputError(f"--search {key}={found[0]}: must be two numbers, the lesser one first")
    if log and low <= 0:
        raise InputError(f"--search {key}={found[0]}: a range with :log must begin above 0")
    return (IntDistribution if kind is int else FloatDistribution)(low, high, log=log)


def _checked(key: str, text: str, config: PipelineConfig) -> Any:
    """A value as the configuration has it, of the right type and in its range."""
    try:
        return getattr(config.override({key: text}).train, key)
    except InputError as error:
        raise InputError(f"--search {error}") from error


def _shortened(value: Any, values: BaseDistribution) -> Any:
    if not isinstance(values, FloatDistribution):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), values.low), values.high)
