"""The data checks of preprocess: drift of lengths and of unknown tokens from the champion's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.ingest import ingest
from components.preprocess.checks import check_drift, length_divergence
from components.preprocess.statistics import LENGTH_BINS
from components.shared.artifacts import directory_sha256, read_json
from components.shared.champion_statistics import (
    ChampionStatistics,
    recorded_statistics,
    save_champion_statistics,
)
from components.shared.config import IngestConfig, PreprocessConfig
from components.shared.errors import InputError
from components.shared.registry.entries import Record
from components.shared.registry.registry import Registry
from pipeline.cli import main

histograms = st.dictionaries(
    st.sampled_from([str(least) for least in LENGTH_BINS]), st.integers(1, 10**6), min_size=1
)


@given(histograms, histograms, st.integers(1, 50))
def test_the_divergence_of_lengths(one: dict[str, int], other: dict[str, int], times: int) -> None:
    value = length_divergence(one, other)
    assert 0 <= value <= 1 and value == length_divergence(other, one)
    assert length_divergence(one, {least: rows * times for least, rows in one.items()}) == 0
    if not one.keys() & other.keys():
        assert value == 1
    if one.keys() != other.keys() and max(*one.values(), *other.values()) < 100:
        assert value > 0


def statistics(histogram: dict[str, int], unknown: float | None) -> dict[str, Any]:
    part = {"length_histogram": histogram, "length_quantiles": {"0.5": 100},
            "uncut_out_of_vocabulary_rate": unknown}  # fmt: skip
    return {"splits": {"train": part, "validation": part}}


@pytest.mark.parametrize(
    ("rate", "passed"), [(0.02, True), (0.07, True), (0.070001, False), (0.0, True), (0.5, False)]
)
def test_unknown_tokens_at_the_threshold(rate: float, passed: bool) -> None:
    before = statistics({"91": 10}, 0.02)
    champion = ChampionStatistics(version=4, statistics=before)
    checks = check_drift(before["splits"], rate, champion, PreprocessConfig())
    assert [check.passed for check in checks] == [True, passed]
    assert f"lacks {rate:.2%} of the tokens, and lacked 2.00%" in checks[1].sentence
    assert "champion, version 4" in checks[1].sentence


def test_lengths_at_the_threshold() -> None:
    champion = ChampionStatistics(version=4, statistics=statistics({"91": 50, "128": 50}, 0.0))
    now = statistics({"91": 80, "128": 20}, 0.0)["splits"]
    value = length_divergence({"91": 50, "128": 50}, {"91": 80, "128": 20})
    assert 0.05 < value < 0.1
    for threshold, passed in ((value, True), (value - 1e-6, False), (None, None)):
        config = PreprocessConfig(max_length_drift=threshold)
        check = check_drift(now, 0.0, champion, config)[0]
        assert check.passed is passed and check.value == value


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        (ChampionStatistics(), "there is no champion"),
        (ChampionStatistics(version=2), "version 2, was promoted without statistics"),
    ],
)
def test_what_is_not_known_is_not_checked_and_says_so(
    champion: ChampionStatistics, reason: str
) -> None:
    checks = check_drift({}, None, champion, PreprocessConfig())
    assert [check.passed for check in checks] == [None, None]
    assert all(reason in check.sentence for check in checks)


def test_validation_without_a_token_is_not_checked() -> None:
    before = statistics({"91": 10}, None)
    champion = ChampionStatistics(version=1, statistics=before)
    check = check_drift(before["splits"], None, champion, PreprocessConfig())[1]
    assert check.passed is None and "no token" in check.sentence


@pytest.fixture(scope="module")
def serving(prepared, tmp_path_factory) -> Path:
    """A registry whose champion was trained on the reviews of `prepared`."""
    folder = tmp_path_factory.mktemp("champion")
    (folder / "saved_model" / "assets").mkdir(parents=True)
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"a graph")
    vocabulary = (prepared.vocabulary / "vocabulary.txt").read_bytes()
    (folder / "saved_model" / "assets" / "vocabulary.txt").write_bytes(vocabulary)
    record = Record(
        run_id="run", source="", preset="", fingerprint="", config={}, metrics={}, reasons=[],
        statistics=recorded_statistics(read_json(prepared.statistics / "statistics.json")),
    )  # fmt: skip
    registry = Registry.open(folder / "serving")
    registry.promote(folder / "saved_model", expected_champion=None, record=record)
    return folder / "serving"


@pytest.fixture
def preprocess(serving, tmp_path, capsys) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Runs the task; gives its status, what each check found by name, and what it showed."""

    def run(reviews: Path, *options: str) -> tuple[int, dict[str, Any], str]:
        made = [word for name in ("examples", "vocabulary", "statistics")
                for word in (f"--{name}", str(tmp_path / "out" / name))]  # fmt: skip
        capsys.readouterr()  # what ingest has printed
        status = main(["task", "preprocess", "--reviews", str(reviews), "--serving-dir",
                       str(serving), "--vocabulary-size", "60", *made, *options])  # fmt: skip
        printed = capsys.readouterr()
        checks = json.loads(printed.out)["checks"] if printed.out else []
        return status, {check["name"]: check for check in checks}, printed.err

    return run


def test_the_same_reviews_have_not_drifted_however_they_are_encoded(
    preprocess, prepared, tmp_path
) -> None:
    options = ("--vocabulary-size", "300", "--max-length", "8", "--truncating", "post")
    limits = ("--max-length-drift", "0", "--max-out-of-vocabulary-drift", "0")
    status, checks, _ = preprocess(prepared.reviews, *options, *limits)
    assert status == 0
    assert [(c["passed"], c["value"]) for c in checks.values()] == [(True, 0), (True, 0)]
    recorded = read_json(tmp_path / "out" / "statistics" / "statistics.json")
    assert {check["name"]: check for check in recorded["checks"]} == checks
    # What is in the splits doesn't depend on the champion.
    assert "unknown_to_champion_rate" not in recorded["splits"]["validation"]


def test_other_reviews_of_the_same_kind_pass(preprocess, write_reviews, tmp_path) -> None:
    ingest(
        str(write_reviews(tmp_path / "more", per_class=200, seed=1)), IngestConfig(),
        tmp_path / "reviews",
    )  # fmt: skip
    status, checks, _ = preprocess(tmp_path / "reviews")
    assert status == 0
    assert all(check["passed"] and check["value"] > 0 for check in checks.values())


def test_drifted_reviews_are_refused_and_nothing_is_changed(
    preprocess, serving, write_reviews, tmp_path
) -> None:
    source = write_reviews(tmp_path / "source", per_class=100)
    for path in source.glob("train/*/*.txt"):
        path.write_text(" ".join(f"{word}en" for word in path.read_text().split() * 4))
    ingest(str(source), IngestConfig(), tmp_path / "reviews")
    before = directory_sha256(serving)
    status, _, shown = preprocess(tmp_path / "reviews")
    assert status == 2
    error = shown.splitlines()[-1]
    assert "2 of 2 data checks failed, so nothing is trained and the champion stays" in error
    assert "above max_length_drift=0.1" in error
    assert "above max_out_of_vocabulary_drift=0.05" in error and "lacks 100.00%" not in shown
    assert directory_sha256(serving) == before
    assert list((tmp_path / "out").iterdir()) == []

    off = ("--max-length-drift", "none", "--max-out-of-vocabulary-drift", "none")
    status, checks, shown = preprocess(tmp_path / "reviews", *off)
    assert status == 0
    assert checks["max_length_drift"]["value"] > 0.5
    assert checks["max_out_of_vocabulary_drift"]["value"] > 0.5
    assert "data check not checked: train: the lengths" in shown


def test_a_damaged_champion_is_named(serving, tmp_path) -> None:
    import shutil

    shutil.copytree(serving, tmp_path / "serving")
    (tmp_path / "serving" / "1" / "assets" / "vocabulary.txt").write_bytes(b"other")
    with pytest.raises(InputError, match=r"1: not as it was published"):
        save_champion_statistics(tmp_path / "serving", tmp_path / "statistics")
    assert not (tmp_path / "statistics").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "champion_statistics.json").write_text("[]")
    with pytest.raises(InputError, match="no statistics of a champion"):
        ChampionStatistics.load(tmp_path / "other")


def test_without_a_champion_the_registry_is_not_made(tmp_path) -> None:
    save_champion_statistics(tmp_path / "serving", tmp_path / "statistics")
    assert not (tmp_path / "serving").exists()
    assert ChampionStatistics.load(tmp_path / "statistics") == ChampionStatistics()
