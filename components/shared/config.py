"""The configuration of the tasks: frozen, validated when made, plain JSON on its way to a task."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from components.shared.errors import InputError

_TRUE, _FALSE, _NONE = ("true", "yes", "1"), ("false", "no", "0"), ("none", "null")


def _require_range(config: Any, **ranges: tuple[float, float]) -> None:
    """Checks that each named field is within its bounds, or none."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{name}={value}: out of range; it must be from {low:g} to {high:g}")


class TaskConfig:
    """What the configurations of all tasks share: conversion from and to JSON values."""

    __slots__ = ()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Makes a configuration of `values`, which may be strings (from a command line) or JSON.

        Raises:
            InputError: an unknown key, a value of the wrong type or out of range.
        """
        hints = get_type_hints(cls)
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for key in values:
            if key not in known:
                raise InputError(unknown_key_message(key, known))
        return cls(**{key: _coerce(key, value, hints[key]) for key, value in values.items()})

    def to_mapping(self) -> dict[str, Any]:
        """The configuration as JSON values; `from_mapping` turns them back.

        None becomes "none": KFP takes no null for a parameter.
        """
        values = asdict(self)  # type: ignore[call-overload]
        return {k: _to_json(v) for k, v in values.items()}


def unknown_key_message(key: str, known: list[str]) -> str:
    """Says that `key` is unknown, with the nearest known one."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(sorted(known))}"
    return f"{key!r}: unknown configuration key; {hint}"


def _to_json(value: Any) -> Any:
    if value is None:
        return _NONE[0]
    return list(value) if isinstance(value, tuple) else value


def _coerce(name: str, value: Any, hint: Any) -> Any:
    """Turns a string or JSON value into the type that a field declares."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in _NONE):
            return None
        return _coerce(name, value, next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{name}={value}: must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(i, str) for i in items):
            raise InputError(f"{name}={value}: must be a list of strings, separated by spaces")
        return tuple(items)
    return _coerce_scalar(name, value, hint)


def _coerce_scalar(name: str, value: Any, hint: type) -> Any:
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    error = InputError(f"{name}={value}: must be {expected[hint]}")
    if hint is bool:
        text = str(value).lower()
        if text not in _TRUE + _FALSE:
            raise error
        return text in _TRUE
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise error
    if hint is str:
        return str(value)
    try:
        # KFP carries every number of a struct as a double, so 64 arrives as 64.0.
        number = float(value)
        result = int(value) if isinstance(value, str) and hint is int else hint(number)
    except (ValueError, OverflowError):
        raise error from None
    if result != number:
        raise error
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig(TaskConfig):
    """How raw reviews become splits."""

    test_fraction: float = 0.2
    """The share of reviews held out for test where the source has no official test split."""

    validation_fraction: float = 0.1
    """The share of the remaining labelled reviews held out for validation."""

    def __post_init__(self) -> None:
        _require_range(self, test_fraction=(0.01, 0.9), validation_fraction=(0.01, 0.9))


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessConfig(TaskConfig):
    """How reviews become TFRecords of token ids."""

    vocabulary_size: int = 30_000
    """Rows of the vocabulary: `<pad>`, `<unk>` and the commonest tokens of train."""

    max_length: int = 400
    """Tokens kept of a review."""

    truncating: Literal["pre", "post", "middle"] = "middle"
    """What of a longer review is cut off; "middle" keeps its first third and last two thirds."""

    beam_runner: str = "DirectRunner"
    """Apache Beam's runner: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ..."""

    beam_args: tuple[str, ...] = ()
    """More Beam pipeline options, such as `--direct_num_workers=2`."""

    def __post_init__(self) -> None:
        _require_range(self, vocabulary_size=(3, 10_000_000), max_length=(1, 100_000))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(TaskConfig):
    """The model and how it is trained."""

    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    """The recurrent cell."""

    bidirectional: bool = True
    """Whether a second recurrence reads the review backwards; its outputs are concatenated."""

    embedding_size: int = 128
    """Width of a token's embedding."""

    hidden_size: int = 64
    """Units of the recurrence, in each direction."""

    pooling: Literal["last", "max", "mean", "max_mean"] = "max_mean"
    """How the outputs over time become one vector; "last" takes the final state."""

    padding: Literal["left", "right"] = "right"
    """Where short reviews are padded: on the right, masked, to the length of their bucket; or on
    the left, unmasked, to `max_length`, as the seed model does."""

    bigram_vocabulary_size: int = 0
    """How many of train's commonest pairs of tokens have an embedding too; 0 for none."""

    bigram_embedding_size: int = 64
    """Width of a pair's embedding."""

    skip_connection: bool = False
    """Whether the embeddings, pooled, reach the output beside the recurrence."""

    dropout_rate: float = 0.3
    """Share of embedding channels, and of pooled features, dropped in training."""

    word_dropout_rate: float = 0.0
    """Share of tokens replaced by `<unk>` in training."""

    learning_rate: float = 1e-3
    """Adam's step size."""

    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """Whether the step size stays, or falls to 0 in a line over `num_epochs`."""

    lazy_embedding_updates: bool = True
    """Whether a step of Adam moves only the embeddings in its batch; else, as in Keras, all."""

    clip_norm: float | None = 1.0
    """The global norm to which gradients are clipped; none for no clipping."""

    per_replica_batch_size: int = 32
    """Reviews in each replica's share of a batch."""

    num_epochs: int = 10
    """Passes over train, at most."""

    early_stopping_patience: int | None = 2
    """Epochs without a better validation accuracy before training stops; none trains them all."""

    seed: int = 42
    """Seeds the weights, the order of the batches and dropout."""

    def __post_init__(self) -> None:
        _require_range(
            self,
            embedding_size=(1, 4096),
            hidden_size=(1, 4096),
            bigram_vocabulary_size=(0, 10_000_000),
            bigram_embedding_size=(1, 4096),
            dropout_rate=(0.0, 0.95),
            word_dropout_rate=(0.0, 0.95),
            learning_rate=(1e-8, 10.0),
            clip_norm=(1e-6, 1e6),
            per_replica_batch_size=(1, 65_536),
            num_epochs=(1, 1000),
            early_stopping_patience=(1, 1000),
            seed=(0, 2**31 - 1),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(TaskConfig):
    """The gate's thresholds; a threshold of none isn't checked, and without any nothing passes."""

    min_accuracy: float | None = None
    """The least accuracy on test."""

    max_loss: float | None = None
    """The greatest binary cross-entropy on test."""

    min_auc: float | None = None
    """The least area under the ROC curve on test."""

    max_accuracy_drop: float | None = 0.0
    """How far below the champion's accuracy, on the same reviews, a candidate may lie."""

    significance_level: float | None = 0.05
    """The level of McNemar's exact test that the candidate is worse than the champion."""

    min_accuracy_over_baseline: float | None = None
    """How far above the linear baseline's accuracy a candidate must lie."""

    def __post_init__(self) -> None:
        _require_range(
            self,
            min_accuracy=(0.0, 1.0),
            max_loss=(0.0, 100.0),
            min_auc=(0.0, 1.0),
            max_accuracy_drop=(0.0, 1.0),
            significance_level=(0.0, 1.0),
            min_accuracy_over_baseline=(-1.0, 1.0),
        )
