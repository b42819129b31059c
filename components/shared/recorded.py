"""The configuration of a whole run, as it is recorded."""

from collections.abc import Mapping
from typing import Any

from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig


def recorded_config(
    ingest: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    train: Mapping[str, Any],
    evaluate: Mapping[str, Any],
) -> dict[str, Any]:
    """The configuration of a run for its record, with KFP's doubles as the numbers they were."""
    return {
        "ingest": IngestConfig.from_mapping(ingest).to_mapping(),
        "preprocess": PreprocessConfig.from_mapping(preprocess).to_mapping(),
        "train": TrainConfig.from_mapping(train).to_mapping(),
        "evaluate": EvaluateConfig.from_mapping(evaluate).to_mapping(),
    }
