"""The data checks of ingest: each passes at its threshold, and fails just beyond it."""

import json
import random
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.checks import check_reviews, is_empty
from components.ingest.splits import Entry, text_digest
from components.shared.artifacts import read_json
from components.shared.config import IngestConfig
from components.shared.data_checks import DataCheck, metadata
from components.shared.errors import InputError
from pipeline.cli import main

NEG, POS = 0, 1


def entries(*reviews: tuple[str, int]) -> list[Entry]:
    return [Entry(text_digest(text.encode()), label, 0, len(text)) for text, label in reviews]


def split(size: int, positive: int, name: str) -> list[Entry]:
    return entries(*((f"{name} {i}", POS if i < positive else NEG) for i in range(size)))


def found(
    train: list[Entry],
    *,
    test: list[Entry] | None = None,
    in_test: list[Entry] | None = None,
    empty: Collection[bytes] = (),
    config: Mapping[str, float | None] = MappingProxyType({}),
) -> dict[tuple[str, str], DataCheck]:
    """Each check by its name and what it is of."""
    splits = {"train": train, "validation": [], "test": test or split(100, 50, "test")}
    checks = check_reviews(splits, in_test or [], empty, IngestConfig.from_mapping(config))
    return {(check.name, check.of): check for check in checks}


def test_ordinary_reviews_pass_every_check() -> None:
    checks = found(split(100, 50, "train"))
    assert len(checks) == 11
    assert all(check.passed for check in checks.values())


@given(st.integers(2, 300), st.data())
def test_few_reviews(rows: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(1, 300))
    checks = found(
        split(rows, 1, "train"), test=split(50, 25, "test"), config={"min_reviews": least}
    )
    check = checks["min_reviews", "train"]
    assert check.passed == (rows >= least)
    assert check.value == rows and check.threshold == least
    assert checks["min_reviews", "test"].passed == (least <= 50)


@given(st.integers(10, 200), st.data())
def test_the_balance_of_labels(rows: int, data: st.DataObject) -> None:
    positive = data.draw(st.integers(1, rows - 1))
    least = data.draw(st.integers(0, 50)) / 100
    share = min(positive, rows - positive) / rows
    for name in ("train", "test"):
        reviews = split(rows, positive, name)
        train = reviews if name == "train" else split(50, 25, "train")
        test = reviews if name == "test" else None
        check = found(train, test=test, config={"min_label_share": least})["min_label_share", name]
        assert check.passed == (share >= least) and check.value == share


@pytest.mark.parametrize("threshold", [0.1, 0.0, None])
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_missing_label_fails_whatever_the_threshold(name: str, threshold: float | None) -> None:
    sides = {"train": split(50, 25, "train"), "test": split(50, 25, "test")}
    sides[name] = split(50, 50, name)
    config = {"min_label_share": threshold}
    check = found(sides["train"], test=sides["test"], config=config)["min_label_share", name]
    assert check.passed is False and f"no review in {name}/neg" in check.sentence


SHARES = {
    "max_empty_share": lambda n: ("", NEG),
    "max_duplicate_share": lambda n: ("train 0", POS),
    "max_contradiction_share": lambda n: (f"train {n}", NEG),
}


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("bad", [0, 1, 4, 5, 6, 9])
def test_a_share_at_its_threshold_passes_and_above_it_fails(name: str, bad: int) -> None:
    reviews = split(100 - bad, 50, "train") + entries(*(SHARES[name](n) for n in range(bad)))
    # Of a text with both labels both reviews count.
    expected = 2 * bad if name == "max_contradiction_share" else bad
    empty = {text_digest(b"")}
    for threshold in (expected / 100, max(0, expected - 1) / 100):
        check = found(reviews, empty=empty, config={name: threshold})[name, "train"]
        assert check.value == expected / 100
        assert check.passed == (check.value <= threshold)
    off = found(reviews, empty=empty, config={name: None})[name, "train"]
    assert off.passed is None and off.value == expected / 100


def test_the_commonest_text_is_named_whatever_the_order() -> None:
    reviews = split(20, 10, "train") + entries(*[("often", POS)] * 3, *[("twice", POS)] * 2)
    sentences = set()
    for seed in range(5):
        random.Random(seed).shuffle(reviews)
        sentences.add(found(reviews)["max_duplicate_share", "train"].sentence)
    (sentence,) = sentences
    assert f"SHA-256 {text_digest(b'often').hex()[:12]}..." in sentence
    assert "3 of 25 reviews" in sentence and "(12.00%)" in sentence and "=0.1" in sentence


def test_reviews_that_stand_in_test() -> None:
    train = split(95, 40, "train")
    for dropped, passed in ((5, True), (6, False)):
        check = found(train, in_test=split(dropped, 1, "test"))["max_overlap_share", "train"]
        assert check.passed is passed and check.value == dropped / (95 + dropped)


@pytest.mark.parametrize(
    "text", ["", " \n\t", "<br /><br />", "...", "-- ?!", "<p>\u200b</p>", "\x00", "\ufeff"]
)
def test_empty_texts(text: str) -> None:
    assert is_empty(text.encode())


@pytest.mark.parametrize("text", ["a", "<b>7", "👍", "...é", "映画", "> 1 <", "½", "<unclosed"])
def test_texts_that_are_not_empty(text: str) -> None:
    assert not is_empty(text.encode())


def make_bad(source: Path) -> None:
    """Every check of train but that of its size fails."""
    for file in (source / "train" / "neg").iterdir():
        file.unlink()
    positive = sorted((source / "train" / "pos").iterdir())
    for file in positive[:30]:
        file.write_text("the very same text")
    for file in positive[30:40]:
        file.write_text(" <br /> ")
    for number, file in enumerate((source / "test" / "neg").iterdir()):
        (source / "train" / "pos" / f"again{number}.txt").write_bytes(file.read_bytes())
    (source / "train" / "neg" / "one.txt").write_text("the very same text")


def test_a_failure_names_all_that_is_wrong_and_leaves_everything_as_it_was(
    tmp_path: Path, write_reviews: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, reviews = write_reviews(tmp_path / "source", per_class=50), tmp_path / "reviews"
    make_bad(source)
    command = ["task", "ingest", "--source", str(source), "--reviews", str(reviews)]
    assert main(command) == 2
    printed = capsys.readouterr()
    error = printed.err.splitlines()[-1]
    assert error.startswith(f"Error: {source}: 5 of 11 data checks failed")
    for part in (
        "train: 10 of 51 reviews are empty (19.61%)",
        "above max_empty_share=0.01",
        "train: 39 of 51 reviews repeat the text of another (76.47%)",
        "train: 31 of 51 reviews have a text with both labels (60.78%)",
        "below min_label_share=0.1",
        "train: 50 of 101 reviews have a text that stands in test (49.50%)",
        "the champion stays",
        "--set KEY=VALUE",
    ):
        assert part in error
    assert printed.out == "" and sorted(p.name for p in tmp_path.iterdir()) == ["source"]

    off = ("max-empty-share", "max-duplicate-share", "max-contradiction-share", "min-label-share",
           "max-overlap-share")  # fmt: skip
    assert main([*command, *(word for name in off for word in (f"--{name}", "none"))]) == 0
    result = json.loads(capsys.readouterr().out)
    checks = {(check["name"], check["of"]): check for check in result["checks"]}
    assert checks["max_empty_share", "train"]["passed"] is None
    assert checks["max_empty_share", "train"]["value"] == pytest.approx(10 / 51)
    assert read_json(reviews / "summary.json")["checks"] == result["checks"]
    assert "not checked: train: 10 of 51" in metadata(result["checks"])["max_empty_share train"]


def test_a_source_that_is_too_small_is_refused(corpus) -> None:
    source = corpus.folder(corpus.files(per_class=19))
    with pytest.raises(InputError, match=r"train: 38 reviews, below min_reviews=40"):
        corpus.ingest(source)
    assert corpus.ingest(source, config={"min_reviews": 38})["splits"]["test"] == 38


def test_the_bundled_reviews_pass_with_room(corpus) -> None:
    room = {"min_reviews": 1000, "min_label_share": 0.4, "max_empty_share": 0.0,
            "max_duplicate_share": 0.01, "max_contradiction_share": 0.0}  # fmt: skip
    checks = corpus.ingest("bundled", config=room)["checks"]
    assert all(check["passed"] for check in checks)
