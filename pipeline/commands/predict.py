"""The command `predict`: asks the served model."""

import json
import os
import sys
from collections.abc import Iterable

import click

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
        if sys.stdin.isatty():
            raise click.UsageError("give a TEXT, or one review a line on standard input")
        reviews = (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
    from pipeline import predict as model

    for prediction in model.predict(serving_dir, reviews):
        click.echo(json.dumps(prediction, ensure_ascii=False).encode())
