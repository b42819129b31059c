"""What a run looks like, on a terminal and elsewhere."""

import io
import re
from pathlib import Path

import pytest

from pipeline.console import Console, duration, printable
from pipeline.stream import State, Task


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Shows the time that it is set to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def task() -> Task:
    return Task("train", 100.0, Path("train.log"))


@pytest.fixture(autouse=True)
def terminal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)


def show_a_task(console: Console, task: Task, text: str = "epoch 1/2") -> None:
    console.started(task)
    console.progressed(task, text)
    task.state, task.seconds, task.figure = State.SUCCEEDED, 83.4, "accuracy 0.9"
    console.finished(task)


def test_a_terminal_shows_progress_on_one_rewritten_line(clock: Clock, task: Task) -> None:
    stream = Terminal()
    show_a_task(Console(stream, verbose=False, clock=clock), task)
    assert stream.getvalue().count("\n") == 1
    last = stream.getvalue().rsplit("\r\x1b[K", 1)[1]
    assert re.sub(r"\x1b\[\d*m", "", last) == "train       done    1 min 23 s  accuracy 0.9\n"


def test_the_rewritten_line_never_wraps(clock: Clock, task: Task) -> None:
    stream = Terminal()
    console = Console(stream, verbose=False, clock=clock)
    console.started(task)
    console.progressed(task, "x" * 500)
    shown = re.sub(r"\x1b\[\d*[mK]|\r", "", stream.getvalue().rsplit("\r", 1)[1])
    assert len(shown) == 59


def test_the_live_line_tells_the_time_that_passes(clock: Clock, task: Task) -> None:
    stream = Terminal()
    console = Console(stream, verbose=False, clock=clock)
    console.started(task)
    clock.now += 7
    console.tick()
    assert "7.0 s" in stream.getvalue()


def test_no_color_keeps_the_live_line_and_drops_the_colors(
    clock: Clock, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    show_a_task(Console(stream, verbose=False, clock=clock), task)
    assert "\r" in stream.getvalue()
    assert not re.search(r"\x1b\[\d*m", stream.getvalue())


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_elsewhere_there_are_only_plain_lines(
    make: type[io.StringIO], clock: Clock, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = make()
    show_a_task(Console(stream, verbose=False, clock=clock), task)
    assert stream.getvalue() == "train       done    1 min 23 s  accuracy 0.9\n"


def test_plain_progress_is_sparse(clock: Clock, task: Task) -> None:
    stream = io.StringIO()
    console = Console(stream, verbose=False, clock=clock)
    console.started(task)
    for second in range(30):
        clock.now = 100.0 + second
        console.progressed(task, f"step {second}")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["10", "20"]


def test_verbose_shows_every_line_with_its_task(clock: Clock, task: Task) -> None:
    stream = Terminal()
    console = Console(stream, verbose=True, clock=clock)
    console.started(task)
    console.printed("train", "I am at work")
    console.progressed(task, "epoch 1/2")
    assert stream.getvalue() == "train       | I am at work\n"


def test_what_a_task_says_cannot_steer_the_terminal(clock: Clock, task: Task) -> None:
    stream = Terminal()
    show_a_task(Console(stream, verbose=False, clock=clock), task, "\x1b[2J\x07\n\x9b1m")
    assert "\x1b[2J" not in stream.getvalue() and "\x07" not in stream.getvalue()
    assert printable("a\x1b]0;t\x07b\u0085") == "a ]0;t b "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.34, "8.3 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (7199, "119 min 59 s"),
    ],
)
def test_durations_are_easy_to_read(seconds: float, text: str) -> None:
    assert duration(seconds) == text
