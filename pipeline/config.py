"""The configuration of a run, and its named presets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from components.shared.config import (
    EvaluateConfig,
    IngestConfig,
    PreprocessConfig,
    TrainConfig,
)
from components.shared.errors import InputError
from components.shared.task_config import TaskConfig, unknown_key_message


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineConfig:
    """The configurations of all tasks; no two of them have a key in common."""

    ingest: IngestConfig
    preprocess: PreprocessConfig
    train: TrainConfig
    evaluate: EvaluateConfig

    def override(self, values: Mapping[str, Any]) -> "PipelineConfig":
        """A copy with the given keys changed; values may be strings from a command line.

        Raises:
            InputError: an unknown key, a value of the wrong type or out of range.
        """
        owners = {
            key: task.name for task in fields(self) for key in _keys(getattr(self, task.name))
        }
        changes: dict[str, dict[str, Any]] = {task: {} for task in owners.values()}
        for key, value in values.items():
            if key not in owners:
                raise InputError(unknown_key_message(key, list(owners)))
            changes[owners[key]][key] = value
        return replace(
            self,
            **{
                task: type(current).from_mapping({**current.to_mapping(), **changes[task]})
                for task in changes
                for current in [getattr(self, task)]
            },
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Mapping[str, Any]]) -> "PipelineConfig":
        """What `to_mapping` made, read back.

        Raises:
            InputError: an unknown key, a value of the wrong type or out of range.
            KeyError: a task is missing.
        """
        owners = get_type_hints(cls)
        return cls(**{name: owner.from_mapping(values[name]) for name, owner in owners.items()})

    def arguments(self) -> dict[str, dict[str, Any]]:
        """The parameters of the pipeline that carry it."""
        return {f"{task}_config": values for task, values in self.to_mapping().items()}

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """The configuration of each task as JSON values."""
        return {task.name: getattr(self, task.name).to_mapping() for task in fields(self)}


def _keys(config: TaskConfig) -> list[str]:
    return [field.name for field in fields(config)]  # type: ignore[arg-type]


def default() -> PipelineConfig:
    """A BiLSTM and a linear classifier, mixed: trains in two minutes on two cores."""
    return PipelineConfig(
        ingest=IngestConfig(),
        preprocess=PreprocessConfig(),
        train=TrainConfig(
            cell="lstm",
            bidirectional=True,
            embedding_size=32,
            hidden_size=16,
            pooling="max_mean",
            bigram_vocabulary_size=200_000,
            bigram_embedding_size=32,
            linear_ngrams=2,
            skip_connection=True,
            dropout_rate=0.5,
            word_dropout_rate=0.3,
            learning_rate=6e-3,
            learning_rate_schedule="linear",
            batch_size=128,
            num_epochs=3,
            early_stopping_patience=None,
        ),
        evaluate=EvaluateConfig(
            min_accuracy=0.85,
            min_slice_accuracy=0.75,
            max_calibration_error=0.1,
            max_latency_ms=200.0,
        ),
    )


def accurate() -> PipelineConfig:
    """`default`, wider, with region embeddings, and triples of words for the linear classifier."""
    return default().override(
        {
            "region_embedding_size": 128,
            "region_epochs": 6,
            "linear_ngrams": 3,
            "hidden_size": 64,
            "dropout_rate": 0.3,
        }
    )


def semi_supervised() -> PipelineConfig:
    """`accurate` with the unlabelled reviews: their text, and what models before it say."""
    return accurate().override({"unlabelled": True, "region_epochs": 4, "self_training": 2})


def seed() -> PipelineConfig:
    """The published model to the letter."""
    return PipelineConfig(
        ingest=IngestConfig(),
        preprocess=PreprocessConfig(vocabulary_size=10_000, max_length=200, truncating="pre"),
        train=TrainConfig(
            cell="simple_rnn",
            bidirectional=False,
            embedding_size=128,
            hidden_size=64,
            pooling="last",
            padding="left",
            dropout_rate=0.0,
            learning_rate=1e-3,
            lazy_embedding_updates=False,
            clip_norm=None,
            batch_size=32,
            num_epochs=10,
            early_stopping_patience=None,
            seed=42,
        ),
        # A plain RNN leans to one label or the other from one retraining to the next.
        evaluate=EvaluateConfig(
            min_accuracy=0.7,
            min_slice_accuracy=0.5,
            max_calibration_error=0.25,
            max_latency_ms=200.0,
            max_slice_accuracy_drop=0.2,
        ),
    )


def lstm() -> PipelineConfig:
    """The published model with an LSTM in place of its plain RNN."""
    return _seed_with(cell="lstm")


def gru() -> PipelineConfig:
    """The published model with a GRU in place of its plain RNN."""
    return _seed_with(cell="gru")


def bidirectional() -> PipelineConfig:
    """The published model with a second plain RNN that reads backwards, its padding last."""
    return _seed_with(bidirectional=True)


def _seed_with(**changes: Any) -> PipelineConfig:
    return replace(seed(), train=replace(seed().train, **changes))


def debug() -> PipelineConfig:
    """A small model that takes the whole pipeline from end to end in under a minute."""
    return PipelineConfig(
        ingest=IngestConfig(),
        preprocess=PreprocessConfig(vocabulary_size=1_000, max_length=64),
        train=TrainConfig(
            embedding_size=16,
            hidden_size=8,
            learning_rate=1e-2,
            num_epochs=2,
        ),
        # Two epochs leave it leaning to one label or the other, by up to 13 points.
        evaluate=EvaluateConfig(
            min_accuracy=0.6,
            min_slice_accuracy=0.4,
            max_calibration_error=0.25,
            max_latency_ms=200.0,
            max_slice_accuracy_drop=0.2,
        ),
    )


PRESETS: dict[str, Callable[[], PipelineConfig]] = {
    "default": default,
    "accurate": accurate,
    "semi_supervised": semi_supervised,
    "seed": seed,
    "lstm": lstm,
    "gru": gru,
    "bidirectional": bidirectional,
    "debug": debug,
}


def preset(name: str) -> PipelineConfig:
    """The preset of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"{name!r}: unknown preset; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
