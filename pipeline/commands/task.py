"""The command `task`: one component by itself, on plain paths, without KFP."""

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from components.shared import events
from components.shared.accelerators import accelerators_of
from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig
from components.shared.errors import NOT_BLESSED_EXIT, task_boundary
from pipeline.commands.options import chosen, configured, made, read
from pipeline.console import Console
from pipeline.stream import State, Task


class _InOrder(click.Group):
    """Lists its commands in the order in which the tasks run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.commands)


@click.group(cls=_InOrder)
def task() -> None:
    """Run one task by itself.

    Inputs and outputs are folders. Standard output gets one JSON object with what the task found,
    standard error all else. Exit status: 0 when the task ran to its end, 1 when it failed, 2 for
    bad usage or input.
    """


def _serving_dir(text: str) -> Callable[[Any], Any]:
    return click.option("--serving-dir", metavar="DIR", required=True, help=text)


@task.command()
@click.option(
    "--source",
    required=True,
    help="bundled, tfds, or the path or URI of reviews in aclImdb's layout.",
)
@made("--reviews", "the prepared TFDS data set.")
@configured(IngestConfig, "ingest")
def ingest(**options: Any) -> int:
    """Bring the raw reviews in, check them, and name what was seen."""
    config = chosen("ingest", options)
    with _reported() as report:
        from components.ingest.ingest import ingest

        report(ingest(options["source"], config, options["reviews"]))
    return 0


@task.command()
@read("--reviews", "the prepared TFDS data set, of ingest.")
@made("--examples", "TFRecords of token ids by split.")
@made("--vocabulary", "vocabulary.txt, cut from the train split.")
@made("--statistics", "statistics.json, by split.")
@click.option(
    "--serving-dir",
    metavar="DIR",
    help="Reads the registry, a path or a URL, whose champion's reviews these are held against; "
    "without it their drift isn't checked.",
)
@configured(PreprocessConfig, "preprocess")
def preprocess(**options: Any) -> int:
    """Tokenize, count, encode and write the reviews with Apache Beam."""
    config = chosen("preprocess", options)
    with _reported() as report:
        from components.preprocess.preprocess import preprocess

        folders = {name: options[name] for name in ("examples", "vocabulary", "statistics")}
        with _champion_statistics(options["serving_dir"]) as champion:
            folders["champion_statistics"] = champion
            report(preprocess(options["reviews"], config, **folders))
    return 0


@contextlib.contextmanager
def _champion_statistics(serving_dir: str | None) -> Iterator[Path | None]:
    """What ingest hands to preprocess in the pipeline, for as long as it is needed."""
    if serving_dir is None:
        yield None
        return
    from components.shared.champion_statistics import save_champion_statistics

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "champion_statistics"
        save_champion_statistics(serving_dir, folder)
        yield folder


@task.command()
@read("--examples", "TFRecords of token ids, of preprocess.")
@read("--vocabulary", "the vocabulary that they were encoded with.")
@made("--model", "the Keras model of the best epoch.")
@made("--model-run", "TensorBoard logs and the history by epoch.")
@click.option(
    "--checkpoint-dir",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    metavar="DIR",
    help="Keeps checkpoints while training lasts: given again, it goes on where it was cut off.",
)
@configured(TrainConfig, "train")
def train(**options: Any) -> int:
    """Train the RNN under MirroredStrategy, over all GPUs or on the CPU."""
    config = chosen("train", options)
    with _reported() as report:
        from components.train.train import train

        history = train(
            options["examples"],
            options["vocabulary"],
            config,
            options["model"],
            options["model_run"],
            options["checkpoint_dir"],
        )
        report({key: history[key] for key in ("epochs", "best_epoch", "devices")})
    return 0


@task.command()
@read("--model", "the Keras model, of train.")
@read("--vocabulary", "the vocabulary that it was trained with.")
@made("--saved-model", "a SavedModel whose signature takes raw text.")
def export(**options: Any) -> int:
    """Build the SavedModel for serving, then load and query it in a clean process."""
    with _reported() as report:
        from components.export.export import export

        report(export(options["model"], options["vocabulary"], options["saved_model"]))
    return 0


@task.command()
@read("--saved-model", "the candidate, of export.")
@read("--reviews", "the prepared TFDS data set, of ingest.")
@click.option(
    "--model-run",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    metavar="DIR",
    help="Reads the history of training, of train: the record has then what it was trained on.",
)
@_serving_dir("Reads the registry that holds the champion, a path or a URL.")
@made("--evaluation", "evaluation.json with every figure and the decision, and report.html.")
@click.option("--require-blessed", is_flag=True, help="Exits with 3 if the gate refuses the model.")
@configured(EvaluateConfig, "evaluate")
def evaluate(**options: Any) -> int:
    """Judge the candidate on the raw reviews of the test split, against the champion."""
    config = chosen("evaluate", options)
    with _reported() as report:
        from components.evaluate.evaluate import evaluate
        from components.shared.recorded import trained_on

        record = {"preset": options["preset"], "config": {"evaluate": config.to_mapping()}}
        record["devices"] = trained_on(options["model_run"]) if options["model_run"] else None
        found = evaluate(
            options["saved_model"],
            options["reviews"],
            options["serving_dir"],
            config,
            record,
            options["evaluation"],
        )
        report({key: found[key] for key in ("metrics", "baseline", "champion", "decision")})
    refused = not found["decision"]["blessed"]
    return NOT_BLESSED_EXIT if refused and options["require_blessed"] else 0


@task.command()
@read("--saved-model", "the candidate, of export.")
@read("--evaluation", "the evaluation that blessed it.")
@click.option(
    "--statistics",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    metavar="DIR",
    help="Reads statistics.json, of preprocess; without it the drift of later reviews can't be "
    "checked.",
)
@_serving_dir("Adds to the registry, a path or a URL.")
@click.option(
    "--run-id", default="by-hand", show_default=True, help="Names the run in the registry."
)
@made("--pushed-model", "pushed.json: the version, and where it is.")
def push(**options: Any) -> int:
    """Promote the blessed candidate in the registry, from where it is served."""
    with _reported() as report:
        from components.push.push import push

        names = ("saved_model", "evaluation", "serving_dir", "run_id", "pushed_model")
        report(push(*(options[name] for name in names), statistics=options["statistics"]))
    return 0


@contextlib.contextmanager
def _reported() -> Iterator[Callable[[Any], None]]:
    """Shows how a task goes, as `run` does; gives what prints its result.

    Raises:
        click.exceptions.Exit: the task ended with a message of its own.
    """
    # What TensorFlow has to say as it starts would bury a message.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    name = click.get_current_context().info_name or ""
    console = Console(sys.stderr, verbose=False)
    shown = Task(name, time.monotonic(), Path(os.devnull))
    results: list[Any] = []
    console.started(shown)
    try:
        # What libraries print must not mix with the result.
        stdout = contextlib.redirect_stdout(_Shown(console, shown))
        with accelerators_of(name), stdout, task_boundary():
            yield results.append
        shown.state = State.SUCCEEDED
    except SystemExit as ended:
        shown.state = State.FAILED
        raise click.exceptions.Exit(int(ended.code or 0)) from None
    finally:
        if shown.state is not State.RUNNING:
            shown.seconds = time.monotonic() - shown.started
            console.finished(shown)
            if shown.error:
                console.say(f"Error: {shown.error}")
    for result in results:
        click.echo(json.dumps(result, ensure_ascii=False).encode())


class _Shown(io.TextIOBase):
    """Takes what a task prints: shows its events, and passes on all else."""

    def __init__(self, console: Console, task: Task) -> None:
        self._console = console
        self._task = task
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._show(line)
        return len(text)

    def _show(self, line: str) -> None:
        kind, values = events.parse(line) or ("", {})
        if kind == "progress":
            self._console.progressed(self._task, str(values.get("text")))
        elif kind == "error":
            self._task.error = str(values.get("message"))
        else:
            self._console.say(line)
