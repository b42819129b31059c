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
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from obstore.store import MemoryStore

from components.shared.artifacts import directory_sha256
from components.shared.entries import Record
from components.shared.errors import InputError
from components.shared.object_storage import ObjectStorage
from components.shared.registry import ChampionChanged, Registry, check_writable
from components.shared.storage import LocalStorage

RECORD = Record(
    run_id="run-1",
    source="bundled",
    preset="debug",
    fingerprint="f" * 64,
    config={"train": {"cell": "gru"}},
    metrics={"accuracy": 0.9},
    reasons=[{"name": "min_accuracy", "passed": True}],
)


def record(run_id: str) -> Record:
    return replace(RECORD, run_id=run_id)


def make_saved_model(folder: Path, content: str = "a") -> Path:
    """Files named as a SavedModel's; each repeats `content`, so that a mixture shows."""
    names = ("saved_model.pb", "fingerprint.pb", "variables/variables.index", "assets/words.txt")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of {content}\n" * 3)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "empty").touch()
    return folder


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return make_saved_model(tmp_path / "candidate")


def tree(serving_dir: Path) -> dict[str, str]:
    return directory_sha256(serving_dir) | {
        path.relative_to(serving_dir).as_posix(): "folder"
        for path in serving_dir.rglob("*")
        if path.is_dir()
    }


def in_children(*works: Callable[[], int]) -> list[int]:
    """Runs each function in a process of its own, all let go at once; gives their exit statuses.

    A status is what the function returns, 99 after an exception, or minus the signal's number.
    """
    gate_out, gate_in = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                os.close(gate_in)
                os.read(gate_out, 1)
                status = work()
            finally:
                os._exit(status)
        children.append(child)
    os.close(gate_in)
    os.close(gate_out)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def contend(serving_dir: Path, model: Path, expected: int | None, run_id: str) -> int:
    """0 for a promotion, 7 for being refused as another won."""
    try:
        Registry.open(serving_dir).promote(model, expected_champion=expected, record=record(run_id))
    except ChampionChanged:
        return 7
    return 0


def test_of_several_processes_exactly_one_promotes(tmp_path: Path) -> None:
    models = [make_saved_model(tmp_path / f"model{n}", f"model {n}") for n in range(3)]
    for version in range(1, 11):
        expected = version - 1 or None
        statuses = in_children(
            *(
                partial(contend, tmp_path / "serving", model, expected, f"run-{version}-{n}")
                for n, model in enumerate(models)
            )
        )
        assert sorted(statuses) == [0, 7, 7]
        champion = Registry.open(tmp_path / "serving").champion()
        assert champion is not None
        assert champion.version == version
        assert champion.run_id == f"run-{version}-{statuses.index(0)}"
    names = {path.name for path in (tmp_path / "serving").iterdir()}
    assert names == {"log", *map(str, range(1, 11))}


def test_an_observer_only_ever_sees_complete_saved_models(tmp_path: Path) -> None:
    serving_dir, stop = tmp_path / "serving", tmp_path / "stop"
    models = [make_saved_model(tmp_path / f"model{n}", f"model {n}") for n in range(2)]
    manifests = [directory_sha256(model) for model in models]

    def observe() -> int:
        looks: set[str] = set()
        ended = False
        while not ended:
            ended = stop.exists()
            for path in serving_dir.glob("[0-9]*"):
                if directory_sha256(path) != manifests[int(path.name) % 2]:
                    return 1
                looks.add(path.name)
        return 0 if len(looks) == 30 else 2

    def promote_all() -> int:
        registry = Registry.open(serving_dir)
        try:
            for version in range(1, 31):
                expected = version - 1 or None
                model, run = models[version % 2], record(f"run-{version}")
                registry.promote(model, expected_champion=expected, record=run)
        finally:
            stop.touch()
        return 0

    assert in_children(observe, promote_all) == [0, 0]


FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.listdir"}


def kill_myself_at(event: str, occurrence: int = 1) -> None:
    """SIGKILLs this process just before it does `event` (of sys.audit) on a file once more."""
    count = itertools.count(1)

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if (name == event or (event == "any" and name in FILE_EVENTS)) and (
            next(count) == occurrence
        ):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def promote_and_die(
    serving_dir: Path, model: Path, expected: int | None, run_id: str, event: str, occurrence: int
) -> int:
    kill_myself_at(event, occurrence)
    return contend(serving_dir, model, expected, run_id)


def test_killed_between_commit_and_publication_the_next_command_publishes(
    candidate: Path, tmp_path: Path
) -> None:
    serving_dir = tmp_path / "serving"
    doomed = partial(promote_and_die, serving_dir, candidate, None, "run-1", "os.rename", 1)
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
    in_children(partial(promote_and_die, serving_dir, candidate, None, "run-1", "os.rename", 1))
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
            partial(promote_and_die, serving_dir, candidate, None, "run-1", "any", occurrence)
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
            contend(tmp_path / "serving", candidate, None, "run-1")
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
        from components.shared.entries import Record
        from components.shared.errors import storage_message
        from components.shared.registry import Registry

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
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
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


class RegistryMachine(RuleBasedStateMachine):
    """Promotions, rivals, kills and recoveries in any order, against a list of the promoted."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.serving_dir = self.root / "serving"
        self.registry = Registry.open(self.serving_dir)
        self.promoted: list[str] = []  # the run of each version
        self.runs = itertools.count(1)

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def candidate(self) -> tuple[str, Path]:
        run_id = f"run-{next(self.runs)}"
        return run_id, make_saved_model(self.root / run_id, run_id)

    @property
    def head(self) -> int | None:
        return len(self.promoted) or None

    @rule()
    def promote(self) -> None:
        run_id, model = self.candidate()
        self.registry.promote(model, expected_champion=self.head, record=record(run_id))
        self.promoted.append(run_id)

    @rule(expected=st.none() | st.integers(1, 9))
    def promote_against_another_champion(self, expected: int | None) -> None:
        if expected == self.head:
            return
        run_id, model = self.candidate()
        self.registry.recover()
        before = tree(self.serving_dir) if self.promoted else {}
        with pytest.raises(ChampionChanged):
            self.registry.promote(model, expected_champion=expected, record=record(run_id))
        assert (tree(self.serving_dir) if self.promoted else {}) == before

    @rule(occurrence=st.integers(1, 80))
    def promote_and_be_killed(self, occurrence: int) -> None:
        run_id, model = self.candidate()
        head = self.head
        [status] = in_children(
            partial(promote_and_die, self.serving_dir, model, head, run_id, "any", occurrence)
        )
        assert status in (0, -signal.SIGKILL)
        entry = self.serving_dir / "log" / f"{(head or 0) + 1:08d}.json"
        assert status != 0 or entry.exists()
        if entry.exists():
            self.promoted.append(run_id)

    @rule(occurrence=st.integers(1, 80))
    def two_at_once_and_one_is_killed(self, occurrence: int) -> None:
        (first, first_model), (second, second_model) = self.candidate(), self.candidate()
        head = self.head
        status, _ = in_children(
            partial(contend, self.serving_dir, first_model, head, first),
            partial(
                promote_and_die, self.serving_dir, second_model, head, second, "any", occurrence
            ),
        )
        # The first is not killed, so one of the two promotes.
        assert status in (0, 7)
        entries = self.registry.entries()
        assert len(entries) == len(self.promoted) + 1
        assert entries[-1].run_id in (first, second)
        self.promoted.append(entries[-1].run_id)

    @rule()
    def recover(self) -> None:
        self.registry.recover()
        numbers = {path.name for path in self.serving_dir.glob("[0-9]*")}
        assert numbers == {str(version) for version in range(1, len(self.promoted) + 1)}

    @rule()
    def recover_and_clear(self) -> None:
        self.registry.recover(abandoned_after=0)
        assert list(self.serving_dir.glob(".staging-*")) == []

    @precondition(lambda self: self.promoted)
    @rule(data=st.data())
    def ask_again_for_what_was_promoted(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(self.promoted))
        entry = self.registry.promote(
            self.root / run_id, expected_champion=self.head, record=record(run_id)
        )
        assert entry.version == self.promoted.index(run_id) + 1

    @invariant()
    def the_log_is_what_was_promoted(self) -> None:
        entries = self.registry.entries()
        assert [entry.run_id for entry in entries] == self.promoted
        champion = self.registry.champion()
        assert (champion and champion.version) == self.head

    @invariant()
    def what_is_published_is_complete(self) -> None:
        for path in self.serving_dir.glob("[0-9]*"):
            run_id = self.promoted[int(path.name) - 1]
            assert directory_sha256(path) == directory_sha256(self.root / run_id)


RegistryMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=10, deadline=None)


TestAnySequence = RegistryMachine.TestCase
