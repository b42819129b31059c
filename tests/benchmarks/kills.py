"""Kills a run with SIGKILL again and again, and compares what it makes with an uninterrupted one.

    python tests/benchmarks/kills.py [--kills 50] [--seed 0] [--only NAME ...] [--json FILE]

The reviews are made up, the preset is `debug`. The run is killed first at chosen moments (see
`MOMENTS`: in every task, as each output appears, between the registry's commit and its
publication), then at random ones; after each kill it is resumed. At every kill the serving
directory is read as a server would, and at the end each file of the model, the SavedModel and the
encoded examples, and the metrics, must be what the uninterrupted run made.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).resolve().parent / "faults"

COMPARED = (
    *("ingest/reviews", "preprocess/examples", "preprocess/vocabulary", "preprocess/statistics"),
    *("train/model", "export/saved_model"),
)


@dataclass(frozen=True)
class Moment:
    """When to kill, and whom; see `faults/sitecustomize.py`."""

    name: str
    event: str
    path: str
    kill: str = "all"
    nth: int = 1


def _output(task: str, name: str, *kills: str) -> tuple[Moment, Moment]:
    """As an output begins to be written, and as it appears."""
    first, second = kills
    return (
        Moment(f"{task} begins {name}", "os.mkdir", rf"/\.{name}\.partial$", first),
        Moment(f"{task} gives {name}", "os.rename", rf"/{task}/{name}$", second),
    )


def _marked(task: str) -> Moment:
    return Moment(f"{task} is marked", "os.rename", rf"/{task}/\.finished$")


_WRITTEN = r"/\.checkpoint\.npz\.partial$"
_APPEARS = r"/checkpoint\.npz$"

MOMENTS = (
    Moment("the run is written down", "os.rename", r"/run\.json$"),
    Moment("the pipeline is compiled", "os.rename", r"/pipeline\.yaml$"),
    *_output("ingest", "reviews", "task", "runner"),
    _marked("ingest"),
    *_output("preprocess", "examples", "all", "task"),
    *_output("preprocess", "vocabulary", "runner", "all"),
    *_output("preprocess", "statistics", "task", "runner"),
    _marked("preprocess"),
    Moment("checkpoint 1 begins", "open", _WRITTEN, "task"),
    Moment("checkpoint 1 appears", "os.rename", _APPEARS, "runner"),
    Moment("checkpoint 2 begins", "open", _WRITTEN, "all", 2),
    # The training has gone on from checkpoint 1: this is the first that the process writes.
    Moment("checkpoint 2 appears", "os.rename", _APPEARS, "all"),
    *_output("train", "model_run", "task", "runner"),
    *_output("train", "model", "all", "task"),
    _marked("train"),
    *_output("export", "saved_model", "runner", "all"),
    _marked("export"),
    *_output("evaluate", "evaluation", "task", "runner"),
    _marked("evaluate"),
    Moment("the candidate is staged", "open", r"/\.staging-.+/saved_model\.pb$", "all"),
    Moment("the registry commits", "os.link", r"/log/0{7}1\.json$", "runner"),
    Moment("between commit and publication", "os.rename", r"/serving/1$"),
    *_output("push", "pushed_model", "all", "task"),
    _marked("push"),
)


class Bench:
    """One place for runs: made-up reviews, a folder for each run."""

    def __init__(self, folder: Path, per_class: int) -> None:
        self.folder = folder
        self.reviews = write_reviews(folder / "reviews", per_class)
        self.attempts = 0

    def command(self, name: str, run_id: str | None) -> list[str]:
        """The command line that begins a run, or goes on with it."""
        root = ["--pipeline-root", str(self.folder / name / "runs")]
        command = [sys.executable, "-m", "pipeline", "run", *root]
        if run_id is not None:
            return [*command, "--resume", run_id]
        serving_dir = str(self.folder / name / "serving")
        source = ["--source", str(self.reviews), "--preset", "debug"]
        # So few reviews are soon told apart, and yet with little confidence.
        source += ["--set", "max_calibration_error=none"]
        return [*command, *source, "--serving-dir", serving_dir]

    def attempt(
        self, name: str, moment: Moment | None, after: float | None = None, kill: str = "all"
    ) -> tuple[int, bool]:
        """Begins the run, or goes on with it, until it ends or is killed.

        Args:
            name: the run's folder.
            moment: at which its processes kill themselves.
            after: the seconds after which they are killed, where no moment is given.
            kill: whom to kill then: "all", the "runner" or the "task".

        Returns:
            The exit status, and whether the fault has struck.
        """
        self.attempts += 1
        scratch = self.folder / f"attempt-{self.attempts}"
        scratch.mkdir()
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if moment:
            fault = {**asdict(moment), "folder": str(scratch)}
            environment |= {"FAULT": json.dumps(fault), "PYTHONPATH": str(FAULTS)}
        # As long as nothing is there to resume, the run begins.
        run_id = self.run_id(name)
        with (scratch / "output").open("wb") as output:
            process = subprocess.Popen(
                self.command(name, run_id), cwd=ROOT, env=environment, stdout=output, stderr=output
            )
            (scratch / "command.pid").write_text(str(process.pid))
            struck = after is not None and _kill_after(process, after, kill)
            status = process.wait()
        return status, struck or (scratch / "fired").exists()

    def run_id(self, name: str) -> str | None:
        """The run in a folder that can be resumed."""
        found = sorted((self.folder / name / "runs").glob("*/run.json"))
        return found[-1].parent.name if found else None

    def finished(self, name: str) -> dict[str, int]:
        """The finished tasks of a run, and when they were."""
        marks = (self.folder / name / "runs").glob("*/tasks/*/.finished")
        return {mark.parent.name: mark.stat().st_mtime_ns for mark in marks}

    def products(self, name: str) -> dict[str, Any]:
        """The sums of all files that a finished run has made, and its metrics."""
        from components.shared.artifacts import directory_sha256, read_json

        run_id = self.run_id(name)
        assert run_id is not None, f"{name}: no run was written down"
        tasks = self.folder / name / "runs" / run_id / "tasks"
        products: dict[str, Any] = {path: directory_sha256(tasks / path) for path in COMPARED}
        judged = read_json(tasks / "evaluate" / "evaluation" / "evaluation.json")
        serving = self.folder / name / "serving"
        # What a push that was killed had staged stays for a day, and is no version.
        products["served"] = directory_sha256(serving / "1")
        products["metrics"] = judged["metrics"]
        products["versions"] = sorted(path.name for path in serving.glob("[0-9]*"))
        return products

    def check_serving_dir(self, name: str) -> None:
        """Reads every version as a server would: each is whole at every instant."""
        from components.shared.artifacts import directory_sha256, read_json

        serving = self.folder / name / "serving"
        for version in serving.glob("[0-9]*"):
            entry = read_json(serving / "log" / f"{int(version.name):08}.json")
            assert directory_sha256(version) == entry["manifest"], f"{version}: not whole"


def _kill_after(process: subprocess.Popen[bytes], seconds: float, kill: str) -> bool:
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        children = _descendants(process.pid)
        victims = {
            "all": [process.pid, *children],
            "runner": children[:1],
            "task": children[-1:],
        }[kill]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return bool(victims)


def _descendants(pid: int) -> list[int]:
    """The processes below a process that this program has started, the nearest first."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found[1:]


def write_reviews(folder: Path, per_class: int) -> Path:
    """Made-up reviews in aclImdb's layout."""
    draw = random.Random(0)
    words = {"pos": "superb witty radiant moving", "neg": "tedious clumsy shallow grating"}
    neutral = "the film plot a and scene actor of director camera is was with music".split()
    for split in ("train", "test"):
        for label, telling in words.items():
            (folder / split / label).mkdir(parents=True)
            for i in range(per_class):
                text = draw.choices(neutral, k=draw.randint(8, 50))
                text += draw.choices(telling.split(), k=3)
                draw.shuffle(text)
                path = folder / split / label / f"{i}_5.txt"
                path.write_text(f"{' '.join(text)} {split}{label}{i}")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Runs the bench; 0 where every comparison held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-class", type=int, default=300)
    parser.add_argument("--only", nargs="*", help="names of moments, and no random ones")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if unknown := set(options.only or ()) - {moment.name for moment in MOMENTS}:
        parser.error(f"unknown moments: {', '.join(sorted(unknown))}")
    sys.path.insert(0, str(ROOT))
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        answer = bench(Bench(folder, options.per_class), options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(answer, indent=2))
    if options.json:
        options.json.write_text(json.dumps(answer, indent=2) + "\n")
    return 0 if answer["equal"] else 1


def bench(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Kills and resumes until all kills are done, each run that ends being compared."""
    status, _ = bench.attempt("reference", None)
    if status:
        raise SystemExit(f"the uninterrupted run failed:\n{_tail(bench)}")
    if not (bench.folder / "reference" / "serving").exists():
        raise SystemExit(f"the uninterrupted run's model wasn't blessed:\n{_tail(bench)}")
    expected = bench.products("reference")
    chosen = [m for m in MOMENTS if options.only is None or m.name in options.only]
    pending: list[Moment | None] = list(chosen[: options.kills])
    if options.only is None:
        pending += [None] * (options.kills - len(pending))
    draw = random.Random(options.seed)
    struck: list[str] = []
    missed: list[str] = []
    differences: list[str] = []
    runs = 0
    while pending:
        runs += 1
        name = f"run-{runs}"
        while True:
            fault = pending.pop(0) if pending else None
            random_kill = fault is None and len(struck) + len(missed) < options.kills
            random_kill = random_kill and options.only is None
            after = draw.uniform(0.5, 25.0) if random_kill else None
            kill = draw.choice(("all", "runner", "task"))
            finished = bench.finished(name)
            status, fired = bench.attempt(name, fault, after, kill)
            bench.check_serving_dir(name)
            what = fault.name if fault else f"{kill} after {after:.1f} s" if after else "to the end"
            outcome = "killed" if fired else f"exit {status}"
            print(f"{name}  {what:<40} {outcome:<7} {len(finished)} tasks kept", flush=True)
            if not finished.items() <= bench.finished(name).items():
                raise SystemExit(f"{name}: {what}: a finished task was done again")
            if fired:
                struck.append(what)
                if status == 0:
                    raise SystemExit(f"{name}: {what}: killed, and yet a success")
                continue
            if status:
                raise SystemExit(f"{name}: {what}: failed by itself:\n{_tail(bench)}")
            if fault or after:
                # The run was over before its moment came.
                missed.append(what)
            break
        found = bench.products(name)
        differences += [f"{name}: {key}" for key in expected if found[key] != expected[key]]
        shutil.rmtree(bench.folder / name)
    return {
        "kills": len(struck),
        "at_chosen_moments": len(struck) - sum(bool(re.search("after", s)) for s in struck),
        "missed": missed,
        "runs": runs,
        "differences": differences,
        "equal": not differences,
        "struck": struck,
    }


def _tail(bench: Bench) -> str:
    return (bench.folder / f"attempt-{bench.attempts}" / "output").read_text()[-3000:]


if __name__ == "__main__":
    started = time.monotonic()
    status = main()
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(status)
