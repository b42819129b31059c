"""The command `predict`: asks the served model."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import click

from components.shared.errors import InputError
from pipeline.commands.options import serving_dir_option


@click.command()
@serving_dir_option("The registry; its newest model answers.")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
def predict(serving_dir: str, texts: tuple[str, ...]) -> None:
    """Say whether reviews are positive or negative.

    Each TEXT is a review; without any, each line of standard input is one. Gives a line of JSON for
    each: text, label, probability (of positive) and version.
    """
    reviews: Iterable[bytes] = map(os.fsencode, texts)
    if not texts:
        # Python has no sys.stdin where it is closed.
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("give a TEXT, or one review a line on standard input")
        reviews = _lines(sys.stdin.buffer)
    from pipeline import predict as model

    for prediction in model.predict(serving_dir, reviews):
        click.echo(json.dumps(prediction, ensure_ascii=False).encode())


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        for line in file:
            yield line.rstrip(b"\r\n")
    except OSError as error:
        raise InputError(f"standard input: can't be read ({error.strerror})") from error
