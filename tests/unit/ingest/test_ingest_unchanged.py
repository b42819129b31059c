"""Whether a run would give the champion once more."""

from pathlib import Path
from typing import Any

import pytest

from components.ingest.unchanged import unchanged_champion
from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig
from components.shared.errors import InputError
from components.shared.registry.entries import Record
from components.shared.registry.registry import Registry

FINGERPRINT = "f" * 64
IMAGE = "registry.example/imdb@sha256:" + "0" * 64
CONFIG: dict[str, dict[str, Any]] = {
    "ingest": IngestConfig().to_mapping(),
    "preprocess": PreprocessConfig(vocabulary_size=500).to_mapping(),
    "train": TrainConfig(num_epochs=3).to_mapping(),
    "evaluate": EvaluateConfig(min_accuracy=0.8).to_mapping(),
}


@pytest.fixture
def serving_dir(tmp_path: Path) -> str:
    return str(tmp_path / "serving")


@pytest.fixture
def promote(tmp_path: Path, serving_dir: str):
    """Promotes a model of these reviews, configuration and image, or of others."""

    def promote(**changes: Any) -> int:
        registry = Registry.open(serving_dir)
        champion = registry.champion()
        number = 1 + len(registry.entries())
        candidate = tmp_path / f"candidate-{number}"
        candidate.mkdir()
        (candidate / "saved_model.pb").write_bytes(f"model {number}".encode())
        record: dict[str, Any] = {
            "run_id": f"run-{number}",
            "source": "bundled",
            "preset": "default",
            "fingerprint": FINGERPRINT,
            "config": CONFIG,
            "metrics": {"accuracy": 0.9},
            "reasons": [],
            "image": IMAGE,
        }
        return registry.promote(
            candidate,
            expected_champion=champion.version if champion else None,
            record=Record(**{**record, **changes}),
        ).version

    return promote


def found(serving_dir: str, **changes: Any) -> int | None:
    """The version of the champion, if nothing has changed since."""
    run: dict[str, Any] = {"fingerprint": FINGERPRINT, "config": CONFIG, "image": IMAGE}
    champion = unchanged_champion(serving_dir, **{**run, **changes})
    return champion.version if champion else None


def changed(task: str, **values: Any) -> dict[str, Any]:
    return {**CONFIG, task: {**CONFIG[task], **values}}


def test_without_a_champion_there_is_all_to_do(serving_dir: str) -> None:
    assert found(serving_dir) is None
    assert not Path(serving_dir).exists()


def test_the_same_reviews_configuration_and_image_are_found(serving_dir: str, promote) -> None:
    promote()
    assert found(serving_dir) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "e" * 64},
        {"image": ""},
        {"image": IMAGE.replace("0", "1")},
        {"config": changed("ingest", validation_fraction=0.2)},
        {"config": changed("preprocess", vocabulary_size=501)},
        {"config": changed("train", seed=7)},
        {"config": changed("evaluate", min_accuracy=0.9)},
    ],
)
def test_any_change_is_one(serving_dir: str, promote, changes: dict[str, Any]) -> None:
    promote()
    assert found(serving_dir, **changes) is None


def test_the_champion_counts_and_no_version_before_it(serving_dir: str, promote) -> None:
    promote()
    promote(fingerprint="e" * 64)
    assert found(serving_dir) is None
    assert found(serving_dir, fingerprint="e" * 64) == 2


def test_kfp_makes_numbers_doubles_and_that_is_no_change(serving_dir: str, promote) -> None:
    promote()
    doubles = {
        task: {k: float(v) if type(v) is int else v for k, v in values.items()}
        for task, values in CONFIG.items()
    }
    assert found(serving_dir, config=doubles) == 1


def test_what_an_earlier_program_left_out_has_its_default(serving_dir: str, promote) -> None:
    earlier = {key: value for key, value in CONFIG["train"].items() if key != "word_dropout_rate"}
    promote(config={**CONFIG, "train": earlier})
    assert found(serving_dir) == 1


@pytest.mark.parametrize("config", [{}, changed("train", of_another_program=1), {"train": {}}])
def test_a_configuration_that_this_program_cannot_read_is_another(
    serving_dir: str, promote, config: dict[str, Any]
) -> None:
    promote(config=config)
    assert found(serving_dir) is None


def test_a_damaged_registry_is_an_error(serving_dir: str, promote) -> None:
    promote()
    (Path(serving_dir) / "log" / "00000001.json").write_text("{")
    with pytest.raises(InputError, match=r"00000001\.json"):
        found(serving_dir)
