"""The command `compile`: the pipeline as YAML for a cluster."""

from pathlib import Path

import click

from components.shared.image import DEFAULT_IMAGE


@click.command("compile")
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
