"""KFP's local runner, with real tasks in real processes."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.local import RunFailed, execute, seconds_by_task
from pipeline.stream import Observer, State, Task

ROOT = Path(__file__).parents[3]


class Silent:
    """Wants to know nothing."""

    def started(self, task: Task) -> None: ...

    def progressed(self, task: Task, text: str) -> None: ...

    def printed(self, name: str, line: str) -> None: ...

    def finished(self, task: Task) -> None: ...

    def tick(self) -> None: ...


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    # KFP itself would stumble over both words.
    path = tmp_path / "python3 runs" / "one"
    path.mkdir(parents=True)
    return path


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return path


def run_small(
    run_dir: Path, package: Path, outcome: str, observer: Observer | None = None
) -> list[Task]:
    arguments = {"outcome": outcome, "config": {"name": "ü python3", "rows": 3}}
    return execute(run_dir, arguments, observer or Silent(), package=package)


def fail_small(run_dir: Path, package: Path, outcome: str) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        run_small(run_dir, package, outcome)
    assert caught.value.task == "work"
    assert list(caught.value.seconds) == ["work"]
    return caught.value


def wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], 600)
    if not ended:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)
    assert ended, f"process {pid} still ran"


def test_a_pipeline_runs_to_its_end_through_the_gate(
    run_dir: Path, package: Path, scratch: Path
) -> None:
    tasks = run_small(run_dir, package, "blessed")
    assert [(task.name, task.state) for task in tasks] == [
        ("work", State.SUCCEEDED),
        ("after", State.SUCCEEDED),
    ]
    assert tasks[0].figure == "all done"
    assert all(seconds > 0 for seconds in seconds_by_task(tasks).values())
    log = (run_dir / "logs" / "work.log").read_text()
    assert "at work on 3 rows of ü python3, nothing to read\n" in log
    assert "a warning of some library\n" in log
    assert "found True\n" in (run_dir / "logs" / "after.log").read_text()
    assert list(run_dir.glob("tasks/work/product"))
    assert not list(scratch.iterdir()), "temporary files stayed"


def test_the_gate_keeps_what_is_behind_it_from_running(run_dir: Path, package: Path) -> None:
    assert [task.name for task in run_small(run_dir, package, "refused")] == ["work"]


@pytest.mark.parametrize(
    ("outcome", "input_error", "message"),
    [
        ("input error", True, "the reviews: too few; add some"),
        ("full disk", False, "cannot write product: the disk is full: free some space"),
    ],
)
def test_a_task_that_says_why_it_fails(
    run_dir: Path, package: Path, outcome: str, input_error: bool, message: str
) -> None:
    failure = fail_small(run_dir, package, outcome)
    assert failure.input_error is input_error
    assert failure.message is not None and failure.message.startswith(message)
    assert not list(run_dir.rglob("*.partial")), "a half-written output stayed"
    assert failure.log.read_text()


@pytest.mark.parametrize(("outcome", "last"), [("bug", "ValueError: a bug"), ("killed", "Killed")])
def test_a_task_that_breaks_shows_the_end_of_its_log(
    run_dir: Path, package: Path, outcome: str, last: str, scratch: Path
) -> None:
    failure = fail_small(run_dir, package, outcome)
    assert (failure.message, failure.input_error) == (None, False)
    assert failure.tail[-1] == last
    assert failure.log.read_text().rstrip().endswith(last)
    assert not list(run_dir.rglob("*.partial")), "a half-written output stayed"
    assert not list(scratch.iterdir()), "temporary files stayed"


def test_a_pipeline_that_kfp_cannot_run_fails_with_the_runners_log(tmp_path: Path) -> None:
    package = tmp_path / "broken.yaml"
    package.write_text("not: a pipeline\n")
    with pytest.raises(RunFailed) as caught:
        execute(tmp_path, {}, Silent(), package=package)
    assert caught.value.task is None
    assert caught.value.tail and caught.value.log == tmp_path / "logs" / "pipeline.log"


def test_an_interrupted_run_takes_its_tasks_along(
    run_dir: Path, package: Path, scratch: Path
) -> None:
    class Interrupting(Silent):
        def progressed(self, task: Task, text: str) -> None:
            self.pid = int(text)
            raise KeyboardInterrupt

    observer = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        run_small(run_dir, package, "waits", observer)
    wait_for_end(observer.pid)
    assert not list(run_dir.rglob("*.partial")), "a half-written output stayed"
    assert not list(scratch.iterdir()), "temporary files stayed"


_KILLABLE = """
import sys
from pathlib import Path
from pipeline.local import execute

class Telling:
    def started(self, task): ...
    def progressed(self, task, text): print(text, flush=True)
    def printed(self, name, line): ...
    def finished(self, task): ...
    def tick(self): ...

arguments = {"outcome": "waits", "config": {"rows": 0, "name": ""}}
execute(Path(sys.argv[1]), arguments, Telling(), package=Path(sys.argv[2]))
"""


def test_tasks_end_even_with_a_run_that_cannot_end_them(run_dir: Path, package: Path) -> None:
    command = [sys.executable, "-c", _KILLABLE, str(run_dir), str(package)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        task_pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    wait_for_end(task_pid)
