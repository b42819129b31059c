"""The parser of KFP's stream, on lines as KFP prints them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.stream import RUNNER, State, Task, TaskStream

STARTED = "05:13:36.318 - INFO - Executing task \x1b[96m'train'\x1b[0m"
SUCCEEDED = "05:13:36.499 - INFO - Task \x1b[96m'train'\x1b[0m finished with status \x1b[92mSUCCESS"
FAILED = "05:13:36.499 - ERROR - Task 'train' finished with status \x1b[91mFAILURE\x1b[0m"


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def started(self, task: Task) -> None:
        self.told.append(("started", task.name))

    def progressed(self, task: Task, text: str) -> None:
        self.told.append(("progressed", text))

    def printed(self, name: str, line: str) -> None:
        self.told.append(("printed", name, line))

    def finished(self, task: Task) -> None:
        self.told.append(("finished", task.name))

    def tick(self) -> None:
        self.told.append(("tick",))


class Clock:
    """Goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def stream(tmp_path: Path, recorder: Recorder) -> Iterator[TaskStream]:
    stream = TaskStream(tmp_path / "logs", recorder, hidden={"p4ss": "***"}, clock=Clock())
    yield stream
    stream.close()


def feed(stream: TaskStream, *lines: str) -> None:
    for line in lines:
        stream.feed(line)


def test_a_task_goes_from_running_to_done_and_keeps_its_figure(
    stream: TaskStream, recorder: Recorder
) -> None:
    feed(
        stream, STARTED, '    @progress {"text": "half"}', '    @figure {"text": "0.9"}', SUCCEEDED
    )
    task = stream.tasks["train"]
    assert (task.state, task.figure, task.seconds) == (State.SUCCEEDED, "0.9", 1.0)
    told = [item for item in recorder.told if item[0] != "printed"]
    assert told == [("started", "train"), ("progressed", "half"), ("finished", "train")]


def test_what_a_task_prints_goes_to_its_own_log_as_it_printed_it(stream: TaskStream) -> None:
    feed(stream, STARTED, "05:13:36.318 - INFO - Streamed logs:", "", "    a", "    ", "      b")
    feed(stream, SUCCEEDED, "    an output of the task")
    stream.close()
    assert stream.log("train").read_text() == "a\n\n  b\n"
    runner_log = stream.log(RUNNER).read_text()
    assert "Streamed logs" in runner_log and "an output of the task" in runner_log
    assert "\x1b" not in runner_log


def test_a_line_of_a_task_cannot_pass_for_one_of_the_runner(stream: TaskStream) -> None:
    feed(stream, STARTED, f"    {FAILED}")
    assert stream.tasks["train"].state is State.RUNNING


def test_an_error_event_gives_the_reason(stream: TaskStream) -> None:
    feed(stream, STARTED, '    @error {"message": "no review", "input_error": true}', FAILED)
    task = stream.tasks["train"]
    assert (task.state, task.error, task.input_error) == (State.FAILED, "no review", True)


def test_the_tail_holds_the_last_lines_without_events(stream: TaskStream) -> None:
    feed(
        stream, STARTED, *(f"    line {i}" for i in range(100)), '    @figure {"text": "x"}', FAILED
    )
    assert list(stream.tasks["train"].tail) == [f"line {i}" for i in range(80, 100)]


def test_a_retry_takes_the_place_of_the_failed_attempt(stream: TaskStream) -> None:
    feed(stream, STARTED, '    @error {"message": "lost", "input_error": false}', FAILED)
    feed(stream, STARTED, SUCCEEDED)
    task = stream.tasks["train"]
    assert (task.state, task.error, task.seconds) == (State.SUCCEEDED, None, 2.0)


@pytest.mark.parametrize(
    "line", ["@progress", "@progress {", "@progress [1]", "@other {}", "@figure 1"]
)
def test_what_only_looks_like_an_event_is_a_line(stream: TaskStream, line: str) -> None:
    feed(stream, STARTED, f"    {line}")
    assert list(stream.tasks["train"].tail) == [line]


def test_a_hidden_text_reaches_neither_log_nor_observer(
    stream: TaskStream, recorder: Recorder
) -> None:
    feed(stream, "a p4ss", STARTED, "    b p4ss", '    @error {"message": "c p4ss"}', FAILED)
    stream.close()
    written = "".join(path.read_text() for path in stream.log("x").parent.iterdir())
    assert "p4ss" not in written + str(recorder.told) + str(stream.tasks)
