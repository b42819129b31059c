"""The command `compile`: the pipeline as YAML for a cluster."""

from pathlib import Path

import click

from pipeline.commands.kubernetes import kubernetes_options
from pipeline.kubernetes import KubernetesOptions


@click.command("compile")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="pipeline.yaml",
    show_default=True,
    help="Where it goes.",
)
@kubernetes_options
def compile_command(output: str, kubernetes: KubernetesOptions) -> None:
    """Compile the pipeline to YAML, for a Kubeflow Pipelines cluster.

    The same options give the same bytes. KFP must be 2.15 or later.
    """
    from pipeline.compile import compile_pipeline

    path = Path(output).absolute()
    compile_pipeline(path, kubernetes)
    click.echo(f"Wrote {path}")
