"""The command line."""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import click

from components.shared.errors import (
    FAILURE_EXIT,
    INPUT_ERROR_EXIT,
    Failure,
    InputError,
    storage_message,
)
from pipeline import standard_streams
from pipeline.commands.compile import compile_command
from pipeline.commands.models import models
from pipeline.commands.predict import predict
from pipeline.commands.run import run
from pipeline.commands.schedule import schedule
from pipeline.commands.submit import submit
from pipeline.commands.submit_sweep import submit_sweep
from pipeline.commands.sweep import sweep
from pipeline.commands.task import task
from pipeline.process import Terminated

_SIGNAL_EXIT = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the command line without the program's name; None for that of this process.

    Returns:
        The exit status.
    """
    standard_streams.occupy()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup, for one, has a signal ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        return _invoke(sys.argv[1:] if arguments is None else arguments)
    finally:
        standard_streams.discard_unwritable()


def _invoke(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context("imdb-pipeline", list(arguments)) as context:
            status = cli.invoke(context)
        sys.stdout.flush()
        return int(status or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except InputError as error:
        return _fail(str(error), INPUT_ERROR_EXIT)
    except Failure as error:
        return _fail(str(error), FAILURE_EXIT)
    except Terminated as error:
        return _SIGNAL_EXIT + error.number
    except BrokenPipeError:
        # Nobody reads on.
        return _SIGNAL_EXIT + signal.SIGPIPE
    except OSError as error:
        if unwritten := standard_streams.output_error():
            return _fail(f"standard output: can't be written ({unwritten.strerror})", FAILURE_EXIT)
        message = storage_message(error)
        if message is None:
            raise
        return _fail(message, FAILURE_EXIT)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


def _fail(message: str, status: int) -> int:
    with suppress(OSError):
        click.echo(f"Error: {message}", err=True)
    return status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """From raw movie reviews to a served sentiment model."""


for _command in (
    *(run, sweep, predict, compile_command, task),
    *(submit, submit_sweep, models, schedule),
):
    cli.add_command(_command)
