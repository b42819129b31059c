"""What a crash or a damage leaves is named, and finished or removed where that can be done."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from components.shared.artifacts import directory_sha256
from components.shared.errors import InputError
from components.shared.registry.registry import Registry
from components.shared.registry.repair import Inspection
from components.shared.registry.storage import LocalStorage, StorageFailure
from components.shared.registry.upkeep import prune
from tests.unit.shared.registry.registries import (
    die,
    in_children,
    make_saved_model,
    promote,
    promotion,
    tree,
)

EVERY = range(1, 100)


@pytest.fixture
def serving_dir(candidate: Path, tmp_path: Path) -> Path:
    """A registry of three versions."""
    for number in range(1, 4):
        promote(Registry.open(tmp_path / "serving"), candidate, f"run-{number}")
    return tmp_path / "serving"


def messages(serving_dir: Path, **options) -> list[str]:
    inspection = Inspection(Registry.open(serving_dir), **options)
    return [finding.message.removeprefix(f"{serving_dir}/") for finding in inspection.findings]


def repaired(serving_dir: Path, **options) -> tuple[list[str], list[str]]:
    """What a repair did, and what it left."""
    outcomes = list(Inspection(Registry.open(serving_dir), **options).repair())
    done = [finding.message for finding, obstacle in outcomes if obstacle is None]
    return done, [obstacle for _, obstacle in outcomes if obstacle is not None]


def test_a_sound_registry_has_nothing_to_repair(serving_dir: Path, tmp_path: Path) -> None:
    before = tree(serving_dir)
    assert messages(serving_dir, thorough=EVERY) == []
    assert Inspection(Registry.open(serving_dir)).served == 3
    assert tree(serving_dir) == before
    assert messages(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


def test_what_was_committed_and_not_published_is_published(
    serving_dir: Path, candidate: Path
) -> None:
    change = promotion(serving_dir, candidate, 3, "run-4")
    assert in_children(partial(die, change, "os.rename")) == [-signal.SIGKILL]
    inspection = Inspection(Registry.open(serving_dir))
    [finding] = inspection.findings
    assert (finding.number, finding.condition) == (4, "unpublished")
    assert "4: in the log, and not yet in its place" in finding.message
    assert inspection.served == 3
    before = tree(serving_dir)
    assert list(inspection.repair(dry_run=True)) == [(finding, None)]
    assert tree(serving_dir) == before
    assert repaired(serving_dir) == ([finding.message], [])
    assert directory_sha256(serving_dir / "4") == directory_sha256(candidate)
    assert messages(serving_dir, thorough=EVERY) == []


def test_a_push_that_never_became_a_version_is_removed_once_it_is_old(
    serving_dir: Path, candidate: Path
) -> None:
    change = promotion(serving_dir, candidate, 3, "run-4")
    assert in_children(partial(die, change, "os.link")) == [-signal.SIGKILL]
    [name] = [path.name for path in serving_dir.glob(".staging-*")]
    [finding] = Inspection(Registry.open(serving_dir)).findings
    assert finding.harmless and "may be of a push in flight" in finding.message
    assert repaired(serving_dir) == ([], [finding.message])
    [done], left = repaired(serving_dir, in_flight=0)
    assert name in done and left == []
    assert list(serving_dir.glob(".staging-*")) == []


# The first folder that a prune removes is one of its own in the place for temporary files.
@pytest.mark.parametrize(
    ("event", "occurrence"), [("os.rename", 1), ("os.rmdir", 2), ("os.remove", 1)]
)
def test_a_prune_that_was_killed_is_ended(event: str, occurrence: int, serving_dir: Path) -> None:
    change = partial(prune, Registry.open(serving_dir), 2)
    assert in_children(partial(die, change, event, occurrence)) == [-signal.SIGKILL]
    found = messages(serving_dir)
    assert "1: left of a version that was pruned (models repair removes it)" in found
    done, left = repaired(serving_dir)
    assert len(done) == len(found) and left == []
    assert sorted(path.name for path in serving_dir.iterdir()) == ["2", "3", "log"]
    assert messages(serving_dir, thorough=EVERY) == []


@pytest.mark.parametrize("content", [b"", b'{"version": 2', b"[]", b"\xff", b'{"action": 1}'])
def test_a_damaged_entry_is_named_and_nothing_else_is_lost(
    content: bytes, serving_dir: Path, candidate: Path
) -> None:
    (serving_dir / "log" / "00000002.json").write_bytes(content)
    in_flight = LocalStorage(serving_dir)
    in_flight.stage(candidate, directory_sha256(candidate), ".staging-" + "a" * 32)
    before = tree(serving_dir)
    inspection = Inspection(Registry.open(serving_dir), in_flight=0)
    damage, staging = inspection.findings
    assert (damage.number, damage.condition) == (2, "damaged")
    assert f"{serving_dir}/log/00000002.json: a damaged entry (" in damage.message
    assert "restore it from a backup" in damage.message
    # The entry that can't be read may be the one that names it.
    assert staging.harmless and "may name it" in staging.message
    assert [obstacle for _, obstacle in inspection.repair()] == [damage.message, staging.message]
    assert tree(serving_dir) == before


def test_a_missing_entry_is_named(serving_dir: Path) -> None:
    (serving_dir / "log" / "00000002.json").unlink()
    assert messages(serving_dir) == [
        "log/00000002.json: this entry is missing; restore it from a backup, or choose another "
        "serving directory"
    ]


def test_a_half_copied_a_missing_and_a_changed_version_are_named(serving_dir: Path) -> None:
    (serving_dir / "1" / "saved_model.pb").unlink()
    shutil.rmtree(serving_dir / "2")
    (serving_dir / "3" / "fingerprint.pb").write_text("changed")
    advice = (
        "; restore it from a backup, or go to another version: imdb-pipeline models rollback "
        "[--to VERSION]"
    )
    half = "1: half copied (missing: saved_model.pb)" + advice
    missing = "2: this version's SavedModel is missing" + advice
    assert messages(serving_dir) == [half, missing]
    changed = "3: not as it was published (changed: fingerprint.pb)" + advice
    assert messages(serving_dir, thorough=EVERY) == [half, missing, changed]
    assert messages(serving_dir, thorough={1}) == [half, missing]
    before = tree(serving_dir)
    assert len(repaired(serving_dir)[1]) == 2
    assert tree(serving_dir) == before


def test_a_version_that_the_log_does_not_know_is_named(serving_dir: Path) -> None:
    prune(Registry.open(serving_dir), 2)
    for name in ("4", "7", "007"):  # 4 is the number of the prune
        make_saved_model(serving_dir / name)
    (serving_dir / "lost+found").mkdir()
    found = messages(serving_dir)
    assert [message.partition(":")[0] for message in found] == ["007", "4", "7"]
    assert all("the registry's log doesn't know" in message for message in found)
    assert repaired(serving_dir)[0] == []


def test_a_folder_in_the_way_of_a_version_is_named_and_stays(
    serving_dir: Path, candidate: Path
) -> None:
    change = promotion(serving_dir, candidate, 3, "run-4")
    assert in_children(partial(die, change, "os.rename")) == [-signal.SIGKILL]
    (serving_dir / "4").mkdir()
    (serving_dir / "4" / "notes.txt").touch()
    [obstacle] = repaired(serving_dir)[1]
    assert f"{serving_dir}/4: in the way of the version 4" in obstacle
    os.rename(serving_dir / "4", serving_dir / "elsewhere")  # noqa: PTH104
    assert repaired(serving_dir)[1] == []
    assert directory_sha256(serving_dir / "4") == directory_sha256(candidate)


@pytest.mark.parametrize("name", [".staging-old", ".removed-1"])
def test_a_link_in_place_of_a_folder_is_removed_and_not_what_it_leads_to(
    name: str, serving_dir: Path, candidate: Path
) -> None:
    prune(Registry.open(serving_dir), 2)
    before = tree(serving_dir)
    (serving_dir / name).symlink_to(candidate)
    done, left = repaired(serving_dir, in_flight=0)
    assert len(done) == 1 and left == []
    assert tree(serving_dir) == before and (candidate / "saved_model.pb").is_file()


@pytest.mark.parametrize("name", [".staging-old", ".removed-1"])
def test_what_cannot_be_removed_is_said_to_stay(name: str, serving_dir: Path, monkeypatch) -> None:
    """Root may remove anything, so the folder's removal is made to do nothing, as where rmtree is
    told to pass over what it may not remove."""
    prune(Registry.open(serving_dir), 2)
    make_saved_model(serving_dir / name)
    monkeypatch.setattr(LocalStorage, "remove", lambda self, folder: None)
    done, left = repaired(serving_dir, in_flight=0)
    assert done == []
    assert left == [
        f"{serving_dir}/{name}: can't be removed; remove it by hand, or run this as a user who may"
    ]


def test_a_linked_folder_in_a_version_is_no_part_of_it(
    serving_dir: Path, candidate: Path, tmp_path: Path
) -> None:
    (serving_dir / "3" / "more").symlink_to(candidate)
    with pytest.raises(InputError, match=r"3: not as it was published \(not part of it: more\)"):
        Registry.open(serving_dir).fetch(3, tmp_path)
    assert ["not part of it: more" in message for message in messages(serving_dir)] == [True]


@pytest.mark.parametrize("lost", ["log", "log/00000003.json", "3"])
def test_what_cannot_be_read_does_not_pass_for_absent(lost: str, serving_dir: Path) -> None:
    """A link to itself can't be followed even by root, who may read anything else."""
    place = serving_dir / lost
    place.rename(serving_dir.with_name("before"))
    place.symlink_to(place)
    registry = Registry.open(serving_dir)
    with pytest.raises(StorageFailure, match=rf"{place}.*: can't be read \(Too many levels"):
        registry.champion()
        registry.fetch(3, serving_dir)
    with pytest.raises(StorageFailure, match=rf"{place}.*: can't be read"):
        Inspection(registry)
