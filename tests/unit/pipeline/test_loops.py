"""The tasks of a loop in KFP's local runner: at the same time, told apart, kept each by itself."""

from pathlib import Path

import pytest
from kfp import compiler, dsl

from pipeline.kept import FINISHED
from pipeline.local import execute
from pipeline.stream import Task


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def meet(asked: dict, folder: str, product: dsl.Output[dsl.Artifact]) -> dict:
    import os
    import signal
    from pathlib import Path

    from components.shared import events

    # The first waits for the second, and the second for the third; on one another, till they end.
    signal.alarm(600)
    number, here = int(asked["number"]), Path(folder)
    if not (here / "met").exists():
        for fifo, reader, writer in (("b", 1, 2), ("a", 0, 1)):
            if number in (reader, writer):
                os.close(os.open(here / fifo, os.O_RDONLY if number == reader else os.O_WRONLY))
    events.progress(f"at {number}")
    for line in range(50):
        print(f"line {line} of {number}")
    with (here / "journal").open("a") as journal:
        journal.write(f"{number} ")
    Path(product.path).write_text("made")
    events.figure(f"figure {number}")
    return {"number": number}


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def gather(results: list[dict], folder: str):
    from pathlib import Path

    numbers = sorted(int(result["number"]) for result in results)
    with (Path(folder) / "journal").open("a") as journal:
        journal.write(f"gathered {numbers}\n")


@dsl.pipeline(name="three-at-once")
def three_at_once(asked: list[dict], folder: str):
    with dsl.ParallelFor(items=asked, parallelism=3) as one:
        met = meet(asked=one, folder=folder)
    gather(results=dsl.Collected(met.outputs["Output"]), folder=folder)


class Noting:
    """Keeps what it is told of each task."""

    def __init__(self) -> None:
        self.progress: dict[str, str] = {}

    def started(self, task: Task) -> None: ...

    def progressed(self, task: Task, text: str) -> None:
        self.progress[task.name] = text

    def printed(self, name: str, line: str) -> None: ...

    def finished(self, task: Task) -> None: ...

    def tick(self) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import os

    folder = tmp_path / "meeting"
    folder.mkdir()
    for fifo in ("a", "b"):
        os.mkfifo(folder / fifo)
    return folder


def test_three_iterations_run_at_once_and_a_finished_one_is_kept(
    tmp_path: Path, folder: Path
) -> None:
    package, run_dir = tmp_path / "loop.yaml", tmp_path / "run"
    compiler.Compiler().compile(three_at_once, str(package))
    arguments = {"asked": [{"number": i} for i in range(3)], "folder": str(folder)}
    noted = Noting()
    tasks = execute(run_dir, arguments, noted, package=package)
    assert {t.name: t.figure for t in tasks} == {
        **{f"meet-{i}": f"figure {i}" for i in range(3)},
        "gather": "",
    }
    assert noted.progress == {f"meet-{i}": f"at {i}" for i in range(3)}
    for i in range(3):
        log = (run_dir / "logs" / f"meet-{i}.log").read_text().splitlines()
        assert [line for line in log if line.startswith("line")] == [
            f"line {line} of {i}" for line in range(50)
        ]
        assert (run_dir / "tasks" / f"meet-{i}" / "product").is_file()
    journal = folder / "journal"
    assert journal.read_text().endswith("gathered [0, 1, 2]\n")

    # As if it had been killed in the second.
    journal.unlink()
    (folder / "met").touch()
    (run_dir / "tasks" / "meet-1" / FINISHED).unlink()
    figures = {t.name: t.figure for t in execute(run_dir, arguments, noted, package=package)}
    assert journal.read_text() == "1 gathered [0, 1, 2]\n"
    assert figures["meet-0"] == figures["meet-2"] == "kept from before"
