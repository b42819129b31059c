"""Compiles the pipeline to KFP's intermediate representation."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from components.shared.errors import InputError
from components.shared.image import DEFAULT_IMAGE
from pipeline.kubernetes import KubernetesOptions


def compiled_pipeline(kubernetes: KubernetesOptions) -> bytes:
    """The pipeline for a cluster, as YAML: KFP's IR, and the platform's part after it.

    The same pipeline and options give the same bytes, on any machine.
    """
    # kfp takes seconds to import.
    from pipeline.definition import sentiment_pipeline

    return _compiled(sentiment_pipeline(kubernetes.image, kubernetes))


def compile_pipeline(package: Path, kubernetes: KubernetesOptions) -> None:
    """Writes the pipeline for a cluster; the file appears whole or not at all.

    Raises:
        InputError: the path doesn't end in .yaml or .yml, or can't be written to.
    """
    if package.suffix not in (".yaml", ".yml"):
        raise InputError(f"{package}: a compiled pipeline is YAML; give a path that ends in .yaml")
    if not package.parent.is_dir():
        raise InputError(f"{package}: there is no such folder; make it first")
    try:
        _write(package, compiled_pipeline(kubernetes))
    except OSError as error:
        raise InputError(
            f"{package}: cannot be written ({error.strerror}); give another path"
        ) from error


def compile_for_this_machine(package: Path, image: str | None = None) -> None:
    """Writes the same pipeline for KFP's local runner, without what only a cluster can give.

    Args:
        package: the file to make.
        image: the image of every task, where they run in containers.
    """
    from pipeline.definition import sentiment_pipeline

    _write(package, _compiled(sentiment_pipeline(image or DEFAULT_IMAGE)))


def compiled_sweep(parallelism: int, kubernetes: KubernetesOptions) -> bytes:
    """The pipeline of a sweep for a cluster, as YAML; see `compiled_pipeline`."""
    from pipeline.sweep.definition import sweep_pipeline

    return _compiled(sweep_pipeline(parallelism, kubernetes.image, kubernetes))


def compile_sweep_for_this_machine(package: Path, parallelism: int) -> None:
    """Writes the pipeline of a sweep for KFP's local runner; see `compile_for_this_machine`."""
    from pipeline.sweep.definition import sweep_pipeline

    _write(package, _compiled(sweep_pipeline(parallelism)))


def as_yaml(documents: Iterable[Any]) -> bytes:
    """Documents as YAML that Go's parsers, which KFP and kubectl read it with, take for the same.

    Args:
        documents: JSON values.
    """
    text: str = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, allow_unicode=True)
    return text.encode()


def _compiled(pipeline: Any) -> bytes:
    """What KFP's compiler writes, without its comment: that lists defaults in no certain order."""
    from google.protobuf import json_format

    specs = (pipeline.pipeline_spec, pipeline.platform_spec)
    return as_yaml(json_format.MessageToDict(spec) for spec in specs)


class _Dumper(yaml.SafeDumper):
    """Puts into quotes what other readers than PyYAML may take for a number or a truth value."""


# Such as 12e4567, which may begin a commit's hash.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile("[-+.0-9a-fA-FxXoO_]+$"), list("-+.0123456789")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


def _write(package: Path, content: bytes) -> None:
    staging = package.with_name(f".{package.name}.partial")
    try:
        staging.write_bytes(content)
        staging.replace(package)
    finally:
        staging.unlink(missing_ok=True)
