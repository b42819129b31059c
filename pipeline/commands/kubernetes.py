"""The options of what a cluster gives the tasks."""

import functools
from dataclasses import fields
from typing import Any

import click

from components.shared.image import DEFAULT_IMAGE
from pipeline.kubernetes import KFP_VERSIONS, KubernetesOptions


def kubernetes_options(command: Any) -> Any:
    """Gives the command an argument `kubernetes`, its `KubernetesOptions`."""

    @functools.wraps(command)
    def call(**arguments: Any) -> Any:
        given = {field.name: arguments.pop(field.name) for field in fields(KubernetesOptions)}
        return command(kubernetes=KubernetesOptions(**given), **arguments)

    decorated: Any = call
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _several(name: str, field: str, metavar: str, text: str) -> Any:
    return click.option(
        name, field, metavar=metavar, multiple=True, help=f"{text} Can be given several times."
    )


_OPTIONS = (
    click.option(
        "--image",
        default=DEFAULT_IMAGE,
        show_default=True,
        help="The image of every task, best by its digest.",
    ),
    click.option(
        "--accelerator-type",
        metavar="RESOURCE",
        default="nvidia.com/gpu",
        show_default=True,
        help="What train's accelerators are called on the nodes.",
    ),
    click.option(
        "--accelerator-count",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="How many accelerators train gets.",
    ),
    _several(
        "--resource",
        "resources",
        "TASK.cpu=NUMBER|TASK.memory=SIZE",
        "What a task asks for, such as train.memory=16Gi.",
    ),
    _several(
        "--node-selector",
        "node_selector",
        "[TASK:]KEY=VALUE",
        "A label that the nodes must have, of all tasks or of one.",
    ),
    _several(
        "--toleration",
        "tolerations",
        "[TASK:]KEY[=VALUE]:EFFECT",
        "A taint of the nodes that is put up with, by all tasks or by one.",
    ),
    _several(
        "--image-pull-secret", "image_pull_secrets", "SECRET", "A secret to pull the image with."
    ),
    _several(
        "--env",
        "env",
        "NAME=VALUE",
        "An environment variable of all tasks; the compiled pipeline shows it.",
    ),
    _several(
        "--secret-env",
        "secret_env",
        "NAME=SECRET:KEY",
        "An environment variable of all tasks, out of a Kubernetes secret.",
    ),
    click.option(
        "--webhook-secret",
        metavar="SECRET:KEY",
        default="",
        help="Holds the URL of the webhook that is told how a run has ended.",
    ),
    _several(
        "--volume",
        "volumes",
        "CLAIM:PATH",
        "A persistent volume claim that all tasks see at an absolute path, for a serving "
        "directory or reviews in a volume.",
    ),
    click.option(
        "--workspace-size",
        metavar="SIZE",
        default="10Gi",
        show_default=True,
        help="The size of the volume that the tasks of a run share.",
    ),
    click.option(
        "--workspace-storage-class",
        metavar="NAME",
        default="",
        help="Its storage class.  [default: the cluster's]",
    ),
    click.option(
        "--prepare-workspace/--no-prepare-workspace",
        default=True,
        show_default=True,
        help="Has a first task make that volume writable, as root without capabilities; leave it "
        "out where the namespace allows no root. Needs KFP 2.16.",
    ),
    click.option(
        "--failed-run-ttl",
        metavar="SECONDS",
        type=click.IntRange(min=0),
        default=86_400,
        show_default=True,
        help="How long a failed run keeps that volume, to be retried; 0 for KFP's own time. Needs "
        "KFP 2.17.",
    ),
    click.option(
        "--kfp-version",
        type=click.Choice(KFP_VERSIONS),
        default="2.17",
        show_default=True,
        help="The oldest KFP that the pipeline is for.",
    ),
    click.option(
        "--shared-memory-size",
        metavar="SIZE",
        default="2Gi",
        show_default=True,
        help="What train's /dev/shm may hold, out of its memory.",
    ),
)
