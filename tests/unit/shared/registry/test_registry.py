"""The registry, against a real directory and obstore's own in-memory bucket."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from components.shared import stores
from components.shared.artifacts import directory_sha256
from components.shared.errors import InputError
from components.shared.registry.entries import read_entry
from components.shared.registry.object_storage import ObjectStorage
from components.shared.registry.registry import ChampionChanged, Registry
from components.shared.registry.serving_dir import check_writable
from components.shared.registry.storage import Storage, StorageFailure
from tests.unit.shared.registry.registries import RECORD, make_saved_model, record, tree


def test_an_empty_registry_has_no_champion_and_reading_makes_nothing(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "serving")
    assert registry.entries() == []
    assert registry.champion() is None
    assert registry.served() is None
    assert registry.recover() == []
    assert not (tmp_path / "serving").exists()


def test_a_promotion_is_an_entry_and_a_saved_model(
    storage: Storage, candidate: Path, tmp_path: Path
) -> None:
    registry = Registry(storage)
    entry = registry.promote(candidate, expected_champion=None, record=RECORD)
    assert entry.version == 1
    assert (entry.action, entry.compared_with, entry.metrics) == ("promote", None, RECORD.metrics)
    assert entry.manifest == directory_sha256(candidate)
    assert entry.created.endswith("+00:00")
    assert registry.entries() == [entry]
    assert registry.champion() == registry.served() == entry
    assert directory_sha256(registry.fetch(1, tmp_path / "into")) == entry.manifest
    assert storage.folders() == ["1", "log"]
    assert storage.files("log") == ["00000001.json"]


def test_versions_count_up_and_each_names_the_champion_it_was_compared_with(
    storage: Storage, tmp_path: Path
) -> None:
    registry = Registry(storage)
    for number in range(1, 4):
        model = make_saved_model(tmp_path / f"model{number}", f"model {number}")
        champion = registry.champion()
        before = champion.version if champion else None
        entry = registry.promote(model, expected_champion=before, record=record(f"run-{number}"))
        assert (entry.version, entry.compared_with) == (number, before)
    for number in range(1, 4):
        fetched = registry.fetch(number, tmp_path / "into")
        assert directory_sha256(fetched) == directory_sha256(tmp_path / f"model{number}")


def test_a_local_version_is_served_from_where_it_lies(candidate: Path, tmp_path: Path) -> None:
    registry = Registry.open(str(tmp_path / "serving"))
    registry.promote(candidate, expected_champion=None, record=RECORD)
    assert registry.fetch(1, tmp_path / "into") == tmp_path / "serving" / "1"
    assert not (tmp_path / "into").exists()


def test_a_file_url_is_a_local_directory(candidate: Path, tmp_path: Path) -> None:
    registry = Registry.open(f"file://{tmp_path}/my%20models")
    registry.promote(candidate, expected_champion=None, record=RECORD)
    assert registry.location == f"{tmp_path}/my models"
    assert (tmp_path / "my models" / "1" / "saved_model.pb").exists()


@pytest.mark.parametrize("expected", [None, 2, 7])
def test_a_candidate_never_replaces_a_champion_it_was_not_compared_with(
    expected: int | None, storage: Storage, candidate: Path, tmp_path: Path
) -> None:
    registry = Registry(storage)
    registry.promote(candidate, expected_champion=None, record=RECORD)
    before = {folder: storage.files(folder) for folder in storage.folders()}
    other = make_saved_model(tmp_path / "other", "other")
    with pytest.raises(
        ChampionChanged, match=r"the champion is version 1 by now.*run the pipeline"
    ):
        registry.promote(other, expected_champion=expected, record=record("run-2"))
    assert {folder: storage.files(folder) for folder in storage.folders()} == before


def test_a_run_that_promotes_again_is_given_its_entry(storage: Storage, candidate: Path) -> None:
    registry = Registry(storage)
    entry = registry.promote(candidate, expected_champion=None, record=RECORD)
    # A retry of push alone, and one of the whole run, which was judged against itself.
    for expected in (None, 1):
        again = registry.promote(candidate, expected_champion=expected, record=RECORD)
        assert again == entry
    other_run = registry.promote(candidate, expected_champion=1, record=record("run-2"))
    assert other_run.version == 2


def test_a_folder_that_is_no_saved_model_is_refused(storage: Storage, candidate: Path) -> None:
    (candidate / "saved_model.pb").unlink()
    with pytest.raises(InputError, match=r"no SavedModel, saved_model\.pb is missing"):
        Registry(storage).promote(candidate, expected_champion=None, record=RECORD)
    assert storage.folders() == []


def test_an_unfetchable_version_is_named(storage: Storage, candidate: Path, tmp_path: Path) -> None:
    registry = Registry(storage)
    registry.promote(candidate, expected_champion=None, record=RECORD)
    with pytest.raises(InputError, match="the registry has no version 2"):
        registry.fetch(2, tmp_path / "into")


class Overtaken(ObjectStorage):
    """A bucket in which another run promotes just before each entry is created."""

    def __init__(self, store: MemoryStore, rival: Path) -> None:
        super().__init__(store, "s3://models/serving")
        self.rival = rival

    def create(self, name: str, content: bytes, staging: str) -> None:
        plain = Registry(ObjectStorage(self._store, self.location))
        plain.promote(self.rival, expected_champion=None, record=record("rival"))
        super().create(name, content, staging)


def test_who_is_overtaken_at_the_commit_is_refused_and_leaves_nothing(
    candidate: Path, tmp_path: Path
) -> None:
    rival = make_saved_model(tmp_path / "rival", "rival")
    storage = Overtaken(MemoryStore(), rival)
    with pytest.raises(ChampionChanged, match=r"version 1 by now, and.*when it was none"):
        Registry(storage).promote(candidate, expected_champion=None, record=RECORD)
    assert storage.folders() == ["1", "log"]
    champion = Registry(storage).champion()
    assert champion is not None
    assert champion.run_id == "rival"


class AnswerLost(ObjectStorage):
    """A bucket that creates the entry, and whose answer doesn't arrive."""

    def create(self, name: str, content: bytes, staging: str) -> None:
        super().create(name, content, staging)
        raise FileExistsError(name)


def test_who_wins_without_hearing_of_it_has_won(candidate: Path, tmp_path: Path) -> None:
    registry = Registry(AnswerLost(MemoryStore(), "s3://models/serving"))
    entry = registry.promote(candidate, expected_champion=None, record=RECORD)
    assert registry.champion() == entry
    assert directory_sha256(registry.fetch(1, tmp_path / "into")) == entry.manifest


@pytest.mark.parametrize("below", ["", "serving"])
def test_a_serving_dir_that_is_a_file_is_refused(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: a file; give the path of a directory"):
        check_writable(tmp_path / "file" / below)


@pytest.mark.parametrize(
    ("serving_dir", "message"),
    [
        ("", "serving_dir is empty"),
        ("ftp://host/models", "ftp://host/models: give a local path, or a URL that begins"),
        ("https://host/models?sig=planted", "^serving_dir https://host/models: give a local path"),
        ("s3://", "serving_dir s3:.*Unable to recognise URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_named(serving_dir: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Registry.open(serving_dir)
    assert "planted" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://models/serving", "az://models/serving"])
def test_a_bucket_that_cannot_be_reached_is_said_in_one_line_without_a_secret(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_RETRY", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=1&sig=planted")
    registry = Registry.open(url)
    for ask in (registry.champion, registry.recover, lambda: check_writable(url)):
        with pytest.raises(StorageFailure, match=f"^{url}: nothing answers at the end") as caught:
            ask()
        assert "planted" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_storage_that_overwrites_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some S3 look-alikes pass over the condition; this one stands in for them."""

    class Overwrites(ObjectStorage):
        def create(self, name: str, content: bytes, staging: str) -> None:
            self._store.put(name, content)

    storage = Overwrites(MemoryStore(), "s3://models")
    monkeypatch.setattr("components.shared.registry.serving_dir.open_storage", lambda _: storage)
    with pytest.raises(InputError, match="two runs could promote at once"):
        check_writable("s3://models")
    assert storage.folders() == []


@pytest.fixture
def serving_dir(candidate: Path, tmp_path: Path) -> Path:
    """A registry of two versions."""
    registry = Registry.open(tmp_path / "serving")
    registry.promote(candidate, expected_champion=None, record=RECORD)
    registry.promote(candidate, expected_champion=1, record=record("run-2"))
    return tmp_path / "serving"


def rewrite(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 7}, "it is the entry of version 7"),
        ({"version": "2"}, "version is missing or of the wrong type"),
        ({"run_id": ...}, "run_id is missing"),
        ({"compared_with": "1"}, "compared_with is missing or of the wrong type"),
        ({"action": "delete"}, "the action 'delete' is unknown"),
        ({"manifest": {"../../outside": "0" * 64}}, "the manifest's '../../outside' is no file"),
        ({"manifest": {"/etc/passwd": "0" * 64}}, "the manifest's '/etc/passwd' is no file"),
        ({"manifest": {"a": "no digest"}}, "the manifest's 'a' is no file with a SHA-256"),
    ],
)
def test_a_damaged_entry_is_named(serving_dir: Path, changes, message) -> None:
    path = serving_dir / "log" / "00000002.json"
    rewrite(path, **changes)
    with pytest.raises(InputError, match=f"log/00000002.json: a damaged entry.*{message}"):
        Registry.open(serving_dir).champion()


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b'{"version": 2}'])
def test_an_entry_that_is_none_is_named(serving_dir: Path, content: bytes) -> None:
    (serving_dir / "log" / "00000001.json").write_bytes(content)
    with pytest.raises(InputError, match=r"log/00000001.json: a damaged entry .*; restore it"):
        Registry.open(serving_dir).entries()


def test_a_key_of_a_later_version_is_passed_over(serving_dir: Path) -> None:
    rewrite(serving_dir / "log" / "00000002.json", author="of a later version")
    champion = Registry.open(serving_dir).champion()
    assert champion is not None
    assert champion.version == 2


def test_a_lost_entry_is_named(serving_dir: Path) -> None:
    (serving_dir / "log" / "00000001.json").unlink()
    with pytest.raises(InputError, match=r"log/00000001.json: this entry is missing"):
        Registry.open(serving_dir).champion()


@pytest.mark.parametrize("name", ["3", "0", "007"])
def test_a_version_unknown_to_the_log_stops_a_promotion(
    name: str, serving_dir: Path, candidate: Path
) -> None:
    """Another system's model, or what is left of a lost entry: it may be what is served."""
    make_saved_model(serving_dir / name)
    before = tree(serving_dir)
    with pytest.raises(InputError, match=f"serving/{name}: a version that the registry's log"):
        Registry.open(serving_dir).promote(candidate, expected_champion=2, record=record("run-3"))
    assert tree(serving_dir) == before


def test_other_names_in_the_serving_directory_do_not_matter(
    serving_dir: Path, candidate: Path
) -> None:
    (serving_dir / "lost+found").mkdir()
    (serving_dir / "log" / "notes.txt").touch()
    (serving_dir / "9").touch()
    entry = Registry.open(serving_dir).promote(
        candidate, expected_champion=2, record=record("run-3")
    )
    assert entry.version == 3


def test_each_changed_missing_or_extra_file_is_named(serving_dir: Path, tmp_path: Path) -> None:
    version = serving_dir / "2"
    (version / "fingerprint.pb").write_bytes(b"changed")
    with pytest.raises(InputError, match=r"2: not as it was published \(changed: fingerprint.pb\)"):
        Registry.open(serving_dir).fetch(2, tmp_path)
    (version / "variables" / "variables.index").unlink()
    (version / "assets" / "extra.txt").touch()
    with pytest.raises(
        InputError,
        match=r"missing: variables/variables.index; not part of it: assets/extra.txt\); restore",
    ):
        Registry.open(serving_dir).fetch(2, tmp_path)
    shutil.rmtree(version)
    with pytest.raises(InputError, match=r"missing: .*saved_model.pb.*variables.index\); restore"):
        Registry.open(serving_dir).fetch(2, tmp_path)


def test_a_changed_object_is_named_and_an_extra_one_is_not_downloaded(
    candidate: Path, tmp_path: Path
) -> None:
    store = MemoryStore()
    registry = Registry(ObjectStorage(store, "s3://models"))
    registry.promote(candidate, expected_champion=None, record=RECORD)
    store.put("1/fingerprint.pb", b"changed")
    with pytest.raises(InputError, match=r"s3://models/1: .*changed: fingerprint.pb"):
        registry.fetch(1, tmp_path / "into")
    store.put("1/more", b"")
    with pytest.raises(InputError, match=r"not part of it: more\)"):
        registry.fetch(1, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_an_entry_is_the_same_bytes_again(candidate: Path, tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "serving")
    entry = registry.promote(candidate, expected_champion=None, record=RECORD)
    content = (tmp_path / "serving" / "log" / "00000001.json").read_bytes()
    assert read_entry(content) == entry
    assert hashlib.sha256(entry.to_json()).digest() == hashlib.sha256(content).digest()
