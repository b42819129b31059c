"""What is recorded of a run: its configuration, and what it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.artifacts import read_json
from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig

HISTORY_FILE = "history.json"
"""The history of a training, in its folder."""


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


def trained_on(model_run: str | Path) -> dict[str, Any] | None:
    """The devices that a model was trained on: `kind`, `count` and `name`.

    Args:
        model_run: the folder of the history that train wrote.

    Returns:
        None where an earlier program trained it.

    Raises:
        InputError: there is no history, or it is damaged.
    """
    devices: dict[str, Any] | None = read_json(Path(model_run) / HISTORY_FILE).get("devices")
    return devices
