"""How the trials of a sweep are compared."""

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from components.compare.compare import compare, interval, summary
from components.shared.artifacts import directory_sha256, read_json
from components.shared.config import TrainConfig
from components.shared.errors import Failure

REVIEWS = 2_450


def asked(number: int, **values: Any) -> dict[str, Any]:
    config = TrainConfig.from_mapping(values).to_mapping()
    return {"number": float(number), "searched": sorted(values), "config": config}


def result(number: int, accuracy: float) -> dict[str, Any]:
    """As KFP hands it on: every number a double."""
    return {
        "number": float(number),
        "validation_accuracy": accuracy,
        "validation_loss": 0.3,
        "best_epoch": 2.0,
        "epochs": 3.0,
        "validation_reviews": float(REVIEWS),
    }


TRIALS = [
    asked(0, hidden_size=16, cell="gru", clip_norm=None),
    asked(1, hidden_size=64, cell="lstm", clip_norm=1.0),
    asked(2, hidden_size=512, cell="lstm", clip_norm=1.0),
    asked(3, hidden_size=32, cell="simple_rnn", clip_norm=1.0),
]
RESULTS = [
    result(3, 0.70),
    {"number": 2.0, "error": "killed | out of\nmemory"},
    result(1, 0.88),
    result(0, 0.872),
]


def test_the_best_is_found_whatever_the_order_and_those_that_cannot_be_told_from_it(
    tmp_path: Path,
) -> None:
    found = compare(TRIALS, RESULTS, tmp_path / "comparison")
    assert found == read_json(tmp_path / "comparison" / "trials.json")
    # 0.872 lies within the interval of 0.88, 0.7 doesn't.
    assert (found["best"], found["alike"]) == (1, [0])
    assert [row["number"] for row in found["trials"]] == [0, 1, 2, 3]
    assert found["trials"][0]["values"] == {"cell": "gru", "clip_norm": "none", "hidden_size": 16}
    assert type(found["trials"][0]["values"]["hidden_size"]) is int
    assert found["trials"][2]["error"] == "killed | out of\nmemory"


def test_the_interval_is_wilsons() -> None:
    low, high = interval(0.88, REVIEWS)
    expected = stats.binomtest(round(0.88 * REVIEWS), REVIEWS).proportion_ci(method="wilson")
    assert low == pytest.approx(expected.low, abs=1e-5)
    assert high == pytest.approx(expected.high, abs=1e-5)


def test_the_table_has_the_best_first_and_the_arguments_that_give_it(tmp_path: Path) -> None:
    text = summary(compare(TRIALS, RESULTS, tmp_path / "comparison"))
    lines = text.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["1", "0", "3", "2"]
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "failed: killed / out of memory" in lines[5]
    assert "--set cell=lstm --set clip_norm=1.0 --set hidden_size=64" in text
    assert "0.8800" in text and "2,450" in text and "In that range lie other trials too: 0." in text


def test_equal_trials_make_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        compare(TRIALS, RESULTS, tmp_path / name)
    one, two = (directory_sha256(tmp_path / name) for name in ("one", "two"))
    assert one == two and set(one) == {"trials.json", "trials.png"}


def test_a_trial_without_a_result_has_failed_and_a_sweep_without_any_too(tmp_path: Path) -> None:
    found = compare(TRIALS, RESULTS[2:], tmp_path / "comparison")
    assert found["trials"][3]["error"] == "it gave no result"
    with pytest.raises(Failure, match="none of 4 trials could be trained; the first: it gave no"):
        compare(TRIALS, RESULTS[1:2], tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
