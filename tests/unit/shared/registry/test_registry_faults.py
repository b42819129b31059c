"""The registry under rivals, kills and disks that fail; each process here is a real one."""

import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from components.shared.artifacts import directory_sha256
from components.shared.errors import InputError
from components.shared.registry.object_storage import ObjectStorage
from components.shared.registry.registry import Registry
from components.shared.registry.serving_dir import check_writable, remove_probes
from components.shared.registry.storage import LocalStorage
from tests.unit.shared.registry.registries import (
    RECORD,
    contend,
    die,
    in_children,
    make_saved_model,
    promotion,
    record,
)


def test_of_several_processes_exactly_one_promotes(tmp_path: Path) -> None:
    models = [make_saved_model(tmp_path / f"model{n}", f"model {n}") for n in range(3)]
    serving_dir = tmp_path / "serving"
    for version in range(1, 11):
        expected = version - 1 or None
        statuses = in_children(
            *(
                partial(contend, promotion(serving_dir, model, expected, f"run-{version}-{n}"))
                for n, model in enumerate(models)
            )
        )
        assert sorted(statuses) == [0, 7, 7]
        champion = Registry.open(serving_dir).champion()
        assert champion is not None
        assert champion.version == version
        assert champion.run_id == f"run-{version}-{statuses.index(0)}"
    names = {path.name for path in serving_dir.iterdir()}
    assert names == {"log", *map(str, range(1, 11))}


def test_killed_between_commit_and_publication_the_next_command_publishes(
    candidate: Path, tmp_path: Path
) -> None:
    serving_dir = tmp_path / "serving"
    doomed = partial(die, promotion(serving_dir, candidate, None, "run-1"), "os.rename")
    statuses = in_children(doomed)
    assert statuses == [-signal.SIGKILL]
    registry = Registry.open(serving_dir)
    champion = registry.champion()
    assert champion is not None
    assert champion.version == 1
    assert registry.served() is None
    assert not (serving_dir / "1").exists()
    assert registry.recover() == [1]
    assert registry.recover() == []
    assert registry.served() == champion
    assert directory_sha256(serving_dir / "1") == directory_sha256(candidate)
    assert sorted(path.name for path in serving_dir.iterdir()) == ["1", "log"]


@pytest.mark.parametrize("finisher", ["fetch", "retry", "next run"])
def test_any_next_command_finishes_the_publication(
    finisher: str, candidate: Path, tmp_path: Path
) -> None:
    serving_dir = tmp_path / "serving"
    in_children(partial(die, promotion(serving_dir, candidate, None, "run-1"), "os.rename"))
    registry = Registry.open(serving_dir)
    if finisher == "fetch":
        registry.fetch(1, tmp_path)
    elif finisher == "retry":
        assert registry.promote(candidate, expected_champion=None, record=RECORD).version == 1
    else:
        other = make_saved_model(tmp_path / "other", "other")
        registry.promote(other, expected_champion=1, record=record("run-2"))
    assert directory_sha256(serving_dir / "1") == directory_sha256(candidate)


def test_killed_at_any_step_a_promotion_happened_or_did_not(
    candidate: Path, tmp_path: Path
) -> None:
    """Kills at each file operation in turn until a promotion outlives the number of them."""
    outcomes = set()
    for occurrence in itertools.count(1):
        serving_dir = tmp_path / f"serving{occurrence}"
        [status] = in_children(
            partial(die, promotion(serving_dir, candidate, None, "run-1"), "any", occurrence)
        )
        registry = Registry.open(serving_dir)
        committed = registry.champion() is not None
        recovered = registry.recover(abandoned_after=0)
        left = sorted(path.name for path in serving_dir.glob("*"))
        if committed:
            assert directory_sha256(serving_dir / "1") == directory_sha256(candidate)
            assert left == ["1", "log"]
        else:
            assert set(left) <= {"log"}
        outcomes.add((committed, bool(recovered)))
        # What a retry of the same run then does: promote, or find that it is done.
        assert registry.promote(candidate, expected_champion=None, record=RECORD).version == 1
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert outcomes == {(False, False), (True, True), (True, False)}


class Interrupted(LocalStorage):
    """A directory in which Ctrl-C is pressed just after the entry was created."""

    def create(self, name: str, content: bytes, staging: str) -> None:
        super().create(name, content, staging)
        raise KeyboardInterrupt


def test_an_interrupt_after_the_commit_keeps_what_the_entry_names(
    candidate: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Registry(Interrupted(tmp_path / "serving")).promote(
            candidate, expected_champion=None, record=RECORD
        )
    registry = Registry.open(tmp_path / "serving")
    assert registry.served() is None
    assert registry.recover() == [1]
    assert directory_sha256(registry.fetch(1, tmp_path)) == directory_sha256(candidate)


def test_a_bucket_that_lost_its_writer_half_way_is_finished(
    candidate: Path, tmp_path: Path
) -> None:
    class Dies(ObjectStorage):
        def _copy(self, source: str, target: str) -> None:
            files = [name for name in self.files(source) if name != "saved_model.pb"]
            for name in files[:2]:
                self._store.copy(f"{source}/{name}", f"{target}/{name}")
            raise SystemExit

    store = MemoryStore()
    with pytest.raises(SystemExit):
        Registry(Dies(store, "s3://m")).promote(candidate, expected_champion=None, record=RECORD)
    storage = ObjectStorage(store, "s3://m")
    registry = Registry(storage)
    assert registry.served() is None
    assert registry.recover() == [1]
    assert storage.folders() == ["1", "log"]
    fetched = registry.fetch(1, tmp_path / "into")
    assert directory_sha256(fetched) == directory_sha256(candidate)


def test_staging_that_no_entry_names_is_cleared_once_it_is_old(
    candidate: Path, tmp_path: Path
) -> None:
    serving_dir = tmp_path / "serving"
    storage, registry = LocalStorage(serving_dir), Registry.open(serving_dir)
    registry.promote(candidate, expected_champion=None, record=RECORD)
    storage.stage(candidate, directory_sha256(candidate), ".staging-" + "a" * 32)
    assert registry.recover() == []
    assert (serving_dir / f".staging-{'a' * 32}").exists()  # it may be of a push in flight
    days_ago = time.time() - 25 * 3600
    for path in ((serving_dir / f".staging-{'a' * 32}"), *serving_dir.rglob(".staging-*/**/*")):
        os.utime(path, (days_ago, days_ago))
    assert registry.recover() == []
    assert sorted(path.name for path in serving_dir.iterdir()) == ["1", "log"]


def test_a_push_whose_staging_was_cleared_commits_nothing(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "serving")
    with pytest.raises(FileNotFoundError):
        storage.create("log/00000001.json", b"{}", ".staging-" + "a" * 32)
    assert Registry(storage).entries() == []


def test_a_write_that_fails_half_way_leaves_nothing(candidate: Path, tmp_path: Path) -> None:
    """The operating system itself refuses the write: files may hold 1 MB here."""
    (candidate / "variables" / "variables.data").write_bytes(os.urandom(2_000_000))

    def promote() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        try:
            promotion(tmp_path / "serving", candidate, None, "run-1")()
        except OSError as error:
            return 5 if ".staging-" in str(error.filename) else 6
        return 0

    assert in_children(promote) == [5]
    assert not (tmp_path / "serving").exists()


def test_a_full_disk_is_said_and_leaves_the_champion(candidate: Path, tmp_path: Path) -> None:
    """On a file system of 256 KB, in a mount namespace of its own."""
    program = textwrap.dedent(
        """
        import sys
        from dataclasses import replace
        from pathlib import Path
        from components.shared.registry.entries import Record
        from components.shared.errors import storage_message
        from components.shared.registry.registry import Registry

        candidate, serving_dir = Path(sys.argv[1]), Path(sys.argv[2])
        record = Record(run_id="1", source="", preset="", fingerprint="", config={}, metrics={},
                        reasons=[])
        registry = Registry.open(serving_dir)
        registry.promote(candidate, expected_champion=None, record=record)
        (candidate / "variables" / "variables.data").write_bytes(bytes(300_000))
        before = sorted(map(str, serving_dir.rglob("*")))
        try:
            registry.promote(candidate, expected_champion=1, record=replace(record, run_id="2"))
        except OSError as error:
            print(storage_message(error))
        assert sorted(map(str, serving_dir.rglob("*"))) == before
        print("champion", registry.champion().version)
        """
    )
    serving_dir = tmp_path / "serving"
    serving_dir.mkdir()
    mount = f"mount -t tmpfs -o size=256k tmpfs {serving_dir}"
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*namespace, mount], check=False).returncode:
        pytest.skip("this machine doesn't let a test mount a small file system")
    run = f'{mount} && exec "$0" -c "$1" "$2" "$3"'
    command = [*namespace, run, sys.executable, program, str(candidate), str(serving_dir)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4]
    )
    message, champion = done.stdout.splitlines()
    assert "the disk is full" in message
    assert str(serving_dir) in message
    assert champion == "champion 1"


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    check_writable(str(tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []


def test_what_a_check_that_was_killed_leaves_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / ".staging-push" / "model").mkdir(parents=True)
    assert in_children(partial(die, partial(check_writable, tmp_path), "os.remove")) == [
        -signal.SIGKILL
    ]
    assert len(list(tmp_path.iterdir())) == 2
    remove_probes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".staging-push"]


@pytest.mark.parametrize("below", ["", "serving", "a/b"])
def test_an_unwritable_directory_is_said_up_front(below: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)

        def try_it() -> int:
            if os.geteuid() == 0:  # whom no permission holds
                os.setuid(65534)
            try:
                check_writable(Path(name) / below)
            except InputError as error:
                expected = "cannot be written to (Permission denied); choose a directory"
                return 5 if expected in str(error) else 6
            return 0

        assert in_children(try_it) == [5]
        assert list(Path(name).iterdir()) == []
