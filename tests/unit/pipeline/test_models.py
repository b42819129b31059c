"""The commands `models ...`, on registries that real changes and real damage made."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from components.shared.errors import InputError
from components.shared.registry.registry import Registry
from pipeline.cli import cli, main
from tests.unit.shared.registry.registries import make_saved_model, promote, tree


@pytest.fixture
def serving_dir(tmp_path: Path) -> Path:
    """A registry of three versions."""
    registry = Registry.open(tmp_path / "serving")
    for number in range(1, 4):
        model = make_saved_model(tmp_path / f"model{number}", f"model {number}")
        promote(registry, model, f"run-{number}")
    return tmp_path / "serving"


def models(serving_dir: Path, command: str, *arguments: str) -> Result:
    words = ["models", command, "--serving-dir", str(serving_dir), *arguments]
    return CliRunner().invoke(cli, words, standalone_mode=False)


def answer(serving_dir: Path, command: str, *arguments: str) -> dict[str, Any]:
    result = models(serving_dir, command, *arguments, "--json")
    assert result.exception is None and result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_an_empty_registry_is_listed_and_nothing_is_made(tmp_path: Path) -> None:
    assert models(tmp_path / "serving", "list").stdout == f"{tmp_path}/serving: no version yet\n"
    assert answer(tmp_path / "serving", "list")["versions"] == []
    assert not (tmp_path / "serving").exists()


def test_the_list_tells_when_which_run_which_data_how_accurate_and_in_which_state(
    serving_dir: Path,
) -> None:
    models(serving_dir, "rollback", "--by", "ada")
    models(serving_dir, "prune", "--keep", "2", "--reason", "space")
    listed = answer(serving_dir, "list")
    assert [(row["version"], row["state"]) for row in listed["versions"]] == [
        (1, "superseded"), (2, "pruned"), (3, "rolled back"), (4, "champion"),
    ]  # fmt: skip
    champion = listed["versions"][3]
    assert champion["served"] and champion["champion"]
    assert (champion["run_id"], champion["accuracy"], champion["by"]) == ("run-2", 0.9, "ada")
    assert champion["fingerprint"] == "f" * 64 and champion["created"].endswith("+00:00")
    assert [(prune["entry"], prune["removed"]) for prune in listed["prunes"]] == [(5, [2])]
    assert listed["problems"] == []
    heading, newest, *rest = models(serving_dir, "list").stdout.splitlines()
    assert heading.split() == ["VERSION", "WHEN", "STATE", "ACCURACY", "DATA", "RUN", "BY"]
    assert newest.startswith("4  ") and "champion" in newest and "0.9000" in newest
    assert "ffffffffffff  run-2" in newest and newest.endswith("ada (is version 2 again)")
    assert rest[-1].startswith("entry 5 pruned 2: ") and rest[-1].endswith(", space")


def test_show_tells_all(serving_dir: Path) -> None:
    shown = answer(serving_dir, "show", "2")
    assert shown["state"] == "superseded" and shown["problems"] == []
    assert shown["config"] == {"train": {"cell": "gru"}} and "saved_model.pb" in shown["manifest"]
    assert shown["reasons"] == [{"name": "min_accuracy", "passed": True}]
    (serving_dir / "2" / "saved_model.pb").write_text("changed")
    [problem] = answer(serving_dir, "show", "2")["problems"]
    assert "changed: saved_model.pb" in problem["message"]
    lines = models(serving_dir, "show", "2").stdout.splitlines()
    assert lines[0] == "version     2: changed"
    assert any(line.startswith("file        saved_model.pb  ") for line in lines)
    # Version 1 is the only one that could be rolled back to.
    models(serving_dir, "prune", "--keep", "2", "--force")
    assert "entry       4: pruned 1" in models(serving_dir, "show", "4").stdout


def test_rollback_says_what_it_did(serving_dir: Path) -> None:
    assert models(serving_dir, "rollback", "--to", "1", "--reason", "slow").stdout == (
        "version 4 is the champion: version 1 again, in place of version 3\n"
    )
    shown = answer(serving_dir, "show", "4")
    assert (shown["reason"], shown["restores"], shown["action"]) == ("slow", 1, "rollback")
    assert "@" in shown["by"]
    given = answer(serving_dir, "rollback", "--to", "3", "--by", "cron")
    assert (given["version"], given["restores"], given["replaced"]) == (5, 3, 4)


def test_prune_says_what_goes_and_what_stays_for_a_rollback(serving_dir: Path) -> None:
    before = tree(serving_dir)
    kept_back = (
        "version 2 is the one that a rollback would go back to: it stays, give --force to remove "
        "it, too, and with it the way back"
    )
    assert models(serving_dir, "prune", "--keep", "1", "--dry-run").stdout.splitlines() == [
        "would be removed: 1", "stay: 2, 3", kept_back,
    ]  # fmt: skip
    assert tree(serving_dir) == before
    assert models(serving_dir, "prune", "--keep", "1").stdout.splitlines() == [
        "removed: 1", "stay: 2, 3", kept_back,
    ]  # fmt: skip
    forced = answer(serving_dir, "prune", "--keep", "1", "--force")
    assert (forced["removed"], forced["kept"], forced["rollback_target"]) == ([2], [3], 2)
    assert models(serving_dir, "prune", "--keep", "5").stdout == "removed: none\nstay: 3\n"


def test_damage_is_named_and_listing_goes_on(serving_dir: Path) -> None:
    (serving_dir / "log" / "00000001.json").write_text("{")
    (serving_dir / "3" / "variables" / "variables.index").unlink()
    listed = answer(serving_dir, "list")
    assert [(row["version"], row["state"]) for row in listed["versions"]] == [
        (1, "damaged"), (2, "superseded"), (3, "half copied"),
    ]  # fmt: skip
    messages = [problem["message"] for problem in listed["problems"]]
    assert messages[0].startswith(f"{serving_dir}/log/00000001.json: a damaged entry (")
    assert messages[1].startswith(f"{serving_dir}/3: half copied (missing: variables/variables")
    shown = models(serving_dir, "list").stdout.splitlines()
    assert [line for line in shown if line.startswith("problem: ")] == [
        f"problem: {message}" for message in messages
    ]
    for command in (("show", "1"), ("rollback",), ("prune", "--keep", "1")):
        result = models(serving_dir, *command)
        assert isinstance(result.exception, InputError)
        assert "log/00000001.json: a damaged entry" in str(result.exception)


def test_repair_ends_with_a_status_that_tells_whether_something_is_left(
    serving_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models", "repair", "--serving-dir", str(serving_dir)]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{serving_dir}: nothing to repair\n"
    (serving_dir / ".staging-abandoned").mkdir()
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"stays: {serving_dir}/.staging-abandoned: changed ")
    assert main([*words, "--abandoned-after", "0", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"to repair: {serving_dir}/.staging-abandoned: left")
    assert (serving_dir / ".staging-abandoned").exists()
    (serving_dir / "2" / "saved_model.pb").write_text("changed")
    assert main([*words, "--abandoned-after", "0"]) == 1
    left, done = sorted(capsys.readouterr().out.splitlines())
    assert left.startswith(f"left: {serving_dir}/2: not as it was published (changed: saved_m")
    assert done.startswith(f"repaired: {serving_dir}/.staging-abandoned: left of a push")
    assert not (serving_dir / ".staging-abandoned").exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["show", "9"], 2, "has no version 9; see which there are: imdb-pipeline models list"),
        (["show", "two"], 2, "'two' is not a valid integer"),
        (["rollback", "--to", "9"], 2, "has no version 9; give one of these by --to: 1, 2"),
        (["rollback", "--to", "3"], 2, "version 3 is the champion already"),
        (["prune"], 2, "Missing option '--keep'"),
        (["prune", "--keep", "0"], 2, "0 is not in the range x>=1"),
        (["list", "--serving-dir", "ftp://host/models"], 2, "give a local path, or a URL"),
        (["list", "--serving-dir", "s3://me:planted@models"], 2, "a URL with a password"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    words: list[str], status: int, message: str, serving_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    options = [] if "--serving-dir" in words else ["--serving-dir", str(serving_dir)]
    assert main(["models", *words, *options]) == status
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and "planted" not in said
