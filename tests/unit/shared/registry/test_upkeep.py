"""Rollbacks and prunes, against a real directory and obstore's own in-memory bucket."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from components.shared.artifacts import directory_sha256
from components.shared.errors import InputError
from components.shared.registry.entries import Entry, Prune, Record, parse_entry
from components.shared.registry.registry import ChampionChanged, Registry, RegistryChanged
from components.shared.registry.storage import LocalStorage, Storage
from components.shared.registry.upkeep import prune, rollback
from tests.unit.shared.registry.registries import (
    contend,
    in_children,
    make_saved_model,
    promote,
    promotion,
    record,
)


@pytest.fixture
def registry(storage: Storage, tmp_path: Path) -> Registry:
    """Three promotions, of the models 1 to 3."""
    registry = Registry(storage)
    for number in range(1, 4):
        model = make_saved_model(tmp_path / f"model{number}", f"model {number}")
        promote(registry, model, f"run-{number}")
    return registry


def states(registry: Registry) -> dict[int, str]:
    lineage = registry.lineage()
    return {entry.version: lineage.state(entry.version) for entry in lineage.entries}


def test_a_rollback_publishes_the_version_before_as_the_highest(
    registry: Registry, tmp_path: Path
) -> None:
    entry = rollback(registry, by="ada", reason="complaints")
    assert (entry.version, entry.action, entry.restores) == (4, "rollback", 2)
    assert (entry.by, entry.reason, entry.compared_with) == ("ada", "complaints", 3)
    assert entry.run_id == "run-2"
    assert registry.champion() == registry.served() == entry
    fetched = registry.fetch(4, tmp_path / "into")
    assert directory_sha256(fetched) == directory_sha256(tmp_path / "model2")
    assert registry.there() == {1, 2, 3, 4}
    assert states(registry) == {1: "superseded", 2: "superseded", 3: "rolled back", 4: "champion"}


def test_a_second_rollback_goes_further_back_and_a_third_has_nowhere_to_go(
    registry: Registry,
) -> None:
    assert rollback(registry).restores == 2
    assert rollback(registry).restores == 1
    with pytest.raises(InputError, match=r"no earlier version.*by --to: 1, 2, 3, 4"):
        rollback(registry)
    assert len(registry.entries()) == 5


def test_after_a_rollback_and_a_promotion_the_rolled_back_version_is_passed_over(
    registry: Registry, tmp_path: Path
) -> None:
    rollback(registry)
    promote(registry, make_saved_model(tmp_path / "model5", "model 5"), "run-5")
    assert rollback(registry).restores == 2
    assert states(registry)[5] == "rolled back"


def test_a_rollback_goes_to_any_version_that_is_there(registry: Registry) -> None:
    assert rollback(registry, 1).restores == 1
    # Also to one that was rolled back, and to a rollback, which is what it restored.
    assert rollback(registry, 3).restores == 3
    assert rollback(registry, 4).restores == 1


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (3, r"version 3 is the champion already; give one of these by --to: 1, 2"),
        (9, r"has no version 9; give one of these by --to: 1, 2$"),
    ],
)
def test_what_cannot_be_rolled_back_to_is_said(registry: Registry, to: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rollback(registry, to)
    assert registry.there() == {1, 2, 3}


def test_an_empty_registry_has_nothing_to_roll_back(storage: Storage) -> None:
    with pytest.raises(InputError, match="holds no model yet"):
        rollback(Registry(storage))
    assert prune(Registry(storage), 1).removed == []
    assert storage.folders() == []


def test_a_changed_version_is_not_rolled_back_to(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "serving")
    for number in (1, 2):
        promote(registry, make_saved_model(tmp_path / f"model{number}"), f"run-{number}")
    (tmp_path / "serving" / "1" / "fingerprint.pb").write_text("changed")
    with pytest.raises(InputError, match=r"1: not as it was published \(changed: fingerprint.pb"):
        rollback(registry)
    assert registry.there() == {1, 2}


def test_a_candidate_judged_before_a_rollback_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    rollback(registry)
    model = make_saved_model(tmp_path / "late", "late")
    with pytest.raises(ChampionChanged, match=r"is version 4 by now.*when it was version 3"):
        registry.promote(model, expected_champion=3, record=record("run-late"))


def test_a_retry_of_a_push_is_not_given_the_rollback_to_it(
    registry: Registry, tmp_path: Path
) -> None:
    rollback(registry, 1)
    again = registry.promote(tmp_path / "model1", expected_champion=None, record=record("run-1"))
    assert again.version == 1


def test_a_prune_removes_all_but_the_newest_and_is_an_entry(
    registry: Registry, tmp_path: Path
) -> None:
    pruned = prune(registry, 2, by="cron", reason="space")
    assert (pruned.removed, pruned.kept, pruned.rollback_target) == ([1], [2, 3], None)
    assert registry.storage.folders() == ["2", "3", "log"]
    change = registry.log.read(4)
    assert isinstance(change, Prune)
    assert (change.removed, change.keep, change.by, change.reason) == ([1], 2, "cron", "space")
    assert states(registry) == {1: "pruned", 2: "superseded", 3: "champion"}
    with pytest.raises(InputError, match=r"version 1 was pruned \(.*by cron\)"):
        registry.fetch(1, tmp_path / "into")
    with pytest.raises(InputError, match="version 1 was pruned"):
        rollback(registry, 1)
    # The prune took the number 4.
    assert promote(registry, make_saved_model(tmp_path / "model5", "5"), "run-5").version == 5
    assert registry.storage.folders() == ["2", "3", "5", "log"]


def test_nothing_to_prune_is_no_entry(registry: Registry) -> None:
    assert prune(registry, 3).removed == []
    assert registry.next_number() == 4


def test_the_champion_and_what_a_rollback_needs_stay(registry: Registry) -> None:
    seen = prune(registry, 1, dry_run=True)
    assert (seen.removed, seen.kept, seen.rollback_target) == ([1], [2, 3], 2)
    assert registry.there() == {1, 2, 3} and registry.next_number() == 4
    assert prune(registry, 1) == seen
    assert registry.there() == {2, 3}
    assert rollback(registry).restores == 2
    forced = prune(registry, 1, force=True)
    assert forced.removed == [2, 3]
    assert registry.there() == {5}
    with pytest.raises(InputError, match=r"no earlier version.*; no other version is there"):
        rollback(registry)
    with pytest.raises(InputError, match="give 1 or more"):
        prune(registry, 0)


@pytest.mark.parametrize("damage", ["half copied", "without its signature", "changed"])
def test_a_version_that_is_not_whole_is_no_way_back(
    damage: str, registry: Registry, tmp_path: Path
) -> None:
    if not isinstance(registry.storage, LocalStorage):
        registry.storage.remove("2/variables")
    elif damage == "half copied":
        shutil.rmtree(Path(registry.location, "2", "variables"))
    elif damage == "without its signature":
        Path(registry.location, "2", "saved_model.pb").unlink()
    else:
        Path(registry.location, "2", "fingerprint.pb").write_text("chan")
    pruned = prune(registry, 2)
    assert (pruned.removed, pruned.kept, pruned.rollback_target) == ([], [1, 2, 3], 1)
    assert rollback(registry).restores == 1


def test_a_prune_after_a_rollback_keeps_what_a_second_one_needs(registry: Registry) -> None:
    rollback(registry)
    pruned = prune(registry, 2)
    assert (pruned.removed, pruned.kept, pruned.rollback_target) == ([2], [1, 3, 4], 1)
    assert rollback(registry).restores == 1


def test_a_promotion_goes_on_when_a_prune_takes_its_number(
    registry: Registry, tmp_path: Path
) -> None:
    create = registry.storage.create
    rival = Registry(registry.storage)

    def overtaken(name: str, content: bytes, staging: str) -> None:
        registry.storage.create = create  # type: ignore[method-assign]
        prune(rival, 2)
        create(name, content, staging)

    registry.storage.create = overtaken  # type: ignore[method-assign]
    entry = promote(registry, make_saved_model(tmp_path / "model5", "5"), "run-5")
    assert (entry.version, entry.compared_with) == (5, 3)
    assert registry.there() == {2, 3, 5}


@pytest.mark.parametrize("change", [rollback, partial(prune, keep=1)])
def test_who_is_overtaken_is_refused_and_leaves_nothing(
    change, registry: Registry, tmp_path: Path
) -> None:
    create = registry.storage.create
    model = make_saved_model(tmp_path / "rival", "rival")

    def overtaken(name: str, content: bytes, staging: str) -> None:
        registry.storage.create = create  # type: ignore[method-assign]
        promote(Registry(registry.storage), model, "rival")
        create(name, content, staging)

    registry.storage.create = overtaken  # type: ignore[method-assign]
    with pytest.raises(RegistryChanged, match=r"entry 4: promote, by .*; nothing was done.*again"):
        change(registry)
    assert registry.storage.folders() == ["1", "2", "3", "4", "log"]
    champion = registry.champion()
    assert champion is not None and champion.run_id == "rival"


def test_of_several_processes_exactly_one_changes_the_registry(tmp_path: Path) -> None:
    serving_dir = tmp_path / "serving"
    registry = Registry.open(serving_dir)
    model = make_saved_model(tmp_path / "model", "model")
    for number in range(3):
        promote(registry, model, f"run-{number}")
    for turn in range(8):
        entries = registry.entries()
        statuses = in_children(
            partial(contend, promotion(serving_dir, model, entries[-1].version, f"new-{turn}")),
            partial(contend, partial(rollback, registry, entries[-2].version, by="one")),
            partial(contend, partial(rollback, registry, entries[-3].version, by="other")),
        )
        # Who comes after the others have ended isn't refused; who comes meanwhile is.
        assert set(statuses) <= {0, 7} and 0 in statuses
        assert len(registry.entries()) == len(entries) + statuses.count(0)
        numbers = [entry.compared_with for entry in registry.entries()]
        assert numbers == [None, *(entry.version for entry in registry.entries()[:-1])]
    assert registry.storage.folders() == sorted([*map(str, registry.there()), "log"])


def test_an_entry_of_an_earlier_program_is_read(registry: Registry) -> None:
    values = json.loads(registry.log.read(1).to_json())
    optional = {"image", "by", "reason", "restores"}
    old = {key: value for key, value in values.items() if key not in optional}
    entry = parse_entry(json.dumps(old).encode(), 1, "here")
    assert isinstance(entry, Entry)
    assert (entry.image, entry.by, entry.reason, entry.restores) == ("", "", "", None)
    assert Record.__dataclass_fields__.keys() <= Entry.__dataclass_fields__.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry": 5}, "it is the entry of version 5"),
        ({"removed": [4]}, "removed holds what is no earlier version"),
        ({"removed": ["../1"]}, "removed holds what is no earlier version"),
        ({"removed": None}, "removed is missing or of the wrong type"),
        ({"keep": "2"}, "keep is missing or of the wrong type"),
    ],
)
def test_a_damaged_prune_is_named(registry: Registry, changes, message: str) -> None:
    prune(registry, 2)
    values = json.loads(registry.log.read(4).to_json()) | changes
    with pytest.raises(InputError, match=f"log/4: a damaged entry .*{message}"):
        parse_entry(json.dumps(values).encode(), 4, "log/4")
