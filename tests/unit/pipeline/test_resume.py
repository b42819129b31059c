"""Resuming a run, with real tasks in real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import compiler, dsl

from components.shared.artifacts import write_json
from components.shared.errors import InputError
from components.shared.registry.registry import Registry
from pipeline.config import preset
from pipeline.local import RunFailed, execute
from pipeline.lock import claimed, note_group
from pipeline.plan import RunSpec
from pipeline.resume import forget_outdated, load, save
from pipeline.stream import Task
from tests.unit.shared.registry.registries import make_saved_model, promote

ROOT = Path(__file__).parents[3]
_MANY_KEYS = {f"key {i}": i for i in range(9)}


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def first(
    journal: str,
    config: dict,
    product: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    from pathlib import Path

    with Path(journal).open("a") as file:
        file.write("first ")
    Path(product.path).write_text("made")
    metrics.log_metric("figure", 1.0)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def second(journal: str, product: dsl.Input[dsl.Artifact]):
    import signal
    from pathlib import Path

    with Path(journal).open("a") as file:
        file.write(f"second:{Path(product.path).read_text()} ")
    if Path(journal).read_text().count("second") < 3:
        os.kill(os.getpid(), signal.SIGKILL)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def last(journal: str, status: dsl.PipelineTaskFinalStatus):
    from pathlib import Path

    with Path(journal).open("a") as file:
        file.write(f"{status.state} ")


@dsl.pipeline(name="two-tasks")
def two_tasks(journal: str, config: dict = _MANY_KEYS):
    with dsl.ExitHandler(last(journal=journal)):
        made = first(journal=journal, config=config)
        second(journal=journal, product=made.outputs["product"])


class Noting:
    """Keeps the figure of each task that has ended well."""

    def __init__(self) -> None:
        self.figures: dict[str, str] = {}

    def started(self, task: Task) -> None: ...

    def progressed(self, task: Task, text: str) -> None: ...

    def printed(self, name: str, line: str) -> None: ...

    def finished(self, task: Task) -> None:
        self.figures[task.name] = task.figure

    def tick(self) -> None: ...


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "two-tasks.yaml"
    compiler.Compiler().compile(two_tasks, str(path))
    return path


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return RunSpec(
        run_id="20260101-000000-abcdef",
        source="https://user:secret@example.com/reviews.tar.gz?token=secret",
        preset="debug",
        config=preset("debug").override({"num_epochs": 7, "min_auc": 0.5}),
        serving_dir=str(tmp_path / "serving"),
        run_dir=tmp_path / "runs" / "20260101-000000-abcdef",
    )


def test_finished_tasks_are_kept_and_the_exit_task_tells_of_every_attempt(
    tmp_path: Path, package: Path
) -> None:
    journal, run_dir = tmp_path / "journal", tmp_path / "run"
    for _ in range(2):
        with pytest.raises(RunFailed) as caught:
            execute(run_dir, {"journal": str(journal)}, Noting(), package=package)
        assert caught.value.task == "second"
    noting = Noting()
    execute(run_dir, {"journal": str(journal)}, noting, package=package)
    assert journal.read_text().split() == [
        *("first", "second:made", "FAILED"),
        *("second:made", "FAILED"),
        *("second:made", "SUCCEEDED"),
    ]
    assert noting.figures == {"first": "kept from before", "second": "", "last": ""}
    # Asked for something else, the tasks are done anew.
    execute(run_dir, {"journal": f"{tmp_path}/./journal"}, Noting(), package=package)
    assert journal.read_text().split()[7:] == ["first", "second:made", "SUCCEEDED"]


def test_an_unmarked_task_is_done_again_and_all_that_follow_it(
    tmp_path: Path, package: Path
) -> None:
    journal, run_dir = tmp_path / "journal", tmp_path / "run"
    journal.write_text("second second ")
    execute(run_dir, {"journal": str(journal)}, Noting(), package=package)
    (run_dir / "tasks" / "first" / ".finished").unlink()
    (run_dir / "tasks" / "first" / "left-over").touch()
    execute(run_dir, {"journal": str(journal)}, Noting(), package=package)
    assert journal.read_text().split()[2:] == ["first", "second:made", "SUCCEEDED"] * 2
    assert not (run_dir / "tasks" / "first" / "left-over").exists()


@pytest.mark.parametrize("lost", ["product", "executor_output.json"])
def test_a_finished_task_whose_output_is_gone_is_done_again(
    lost: str, tmp_path: Path, package: Path
) -> None:
    journal, run_dir = tmp_path / "journal", tmp_path / "run"
    journal.write_text("second second ")
    for _ in range(2):
        noting = Noting()
        execute(run_dir, {"journal": str(journal)}, noting, package=package)
        (run_dir / "tasks" / "first" / lost).unlink()
    assert journal.read_text().split()[2:] == ["first", "second:made", "SUCCEEDED"] * 2
    assert noting.figures == {"first": "", "second": "", "last": ""}


def evaluated(spec: RunSpec, champion_version: int | None) -> Path:
    """A run whose candidate was judged against that champion; gives the mark of that task."""
    task = spec.run_dir / "tasks" / "evaluate"
    (task / "evaluation").mkdir(parents=True)
    write_json(task / "evaluation" / "evaluation.json", {"champion_version": champion_version})
    (task / ".finished").touch()
    return task / ".finished"


def test_a_candidate_is_judged_again_where_the_champion_is_another(
    spec: RunSpec, tmp_path: Path
) -> None:
    registry = Registry.open(spec.serving_dir)
    finished = evaluated(spec, None)
    forget_outdated(spec)
    assert finished.exists()
    promote(registry, make_saved_model(tmp_path / "model"), "another-run")
    forget_outdated(spec)
    assert not finished.exists()
    forget_outdated(spec)


def test_what_was_promoted_is_not_judged_again_whatever_came_after_it(
    spec: RunSpec, tmp_path: Path
) -> None:
    registry = Registry.open(spec.serving_dir)
    finished = evaluated(spec, None)
    promote(registry, make_saved_model(tmp_path / "model", "1"), spec.run_id)
    promote(registry, make_saved_model(tmp_path / "next", "2"), "next-run")
    forget_outdated(spec)
    assert finished.exists()


def test_what_to_run_is_kept_without_the_password(spec: RunSpec) -> None:
    save(spec, {"runner": "subprocess"})
    root = str(spec.run_dir.parent)
    assert "secret" not in (spec.run_dir / "run.json").read_text()
    with pytest.raises(InputError, match="give --source again"):
        load(root, spec.run_id, None)
    with pytest.raises(InputError, match=r"the run's is https://example.com/reviews.tar.gz") as bad:
        load(root, spec.run_id, "https://user:other-secret@example.com/others.tar.gz")
    assert "secret" not in str(bad.value)
    assert load(root, spec.run_id, spec.source) == (spec, {"runner": "subprocess"})


def test_a_run_that_is_not_there_is_named_beside_the_newest(spec: RunSpec) -> None:
    save(spec, {})
    for run_id in ("20250101-000000-ffffff", "../runs", "..", "", "x" * 300):
        with pytest.raises(InputError, match=f"--resume {run_id}: .*newest there is {spec.run_id}"):
            load(str(spec.run_dir.parent), run_id, None)
    with pytest.raises(InputError, match="none is there"):
        load(str(spec.run_dir), spec.run_id, None)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"run_id": 1, "config": []}'])
def test_a_damaged_run_file_is_named(spec: RunSpec, content: str) -> None:
    save(spec, {})
    (spec.run_dir / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        load(str(spec.run_dir.parent), spec.run_id, spec.source)


def test_a_run_is_worked_on_by_one_process(tmp_path: Path) -> None:
    with (
        claimed(tmp_path),
        pytest.raises(InputError, match="another process is at it"),
        claimed(tmp_path),
    ):
        raise AssertionError("claimed twice")
    with claimed(tmp_path):
        pass


def test_orphans_of_a_killed_run_are_ended_before_it_goes_on(tmp_path: Path) -> None:
    """As where both the command and the runner were killed, and a task lives on."""
    with claimed(tmp_path) as tasks_lock:
        orphan = subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            pass_fds=(tasks_lock,),
            start_new_session=True,
        )
        note_group(tasks_lock, orphan.pid)
    with claimed(tmp_path):
        assert orphan.wait(timeout=600) == -signal.SIGKILL
    assert orphan.stdin is not None
    orphan.stdin.close()
