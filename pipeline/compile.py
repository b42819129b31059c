"""Compiles the pipeline to KFP's intermediate representation."""

import copy
from pathlib import Path
from typing import Any

from components.shared.errors import InputError


def compile_pipeline(package: Path, image: str | None = None) -> None:
    """Writes the compiled pipeline to `package`; the file appears whole or not at all.

    Args:
        package: the file to make.
        image: the image of every task; None for `components.shared.image.DEFAULT_IMAGE`.

    Raises:
        InputError: the path doesn't end in .yaml or .yml, or can't be written to.
    """
    if package.suffix not in (".yaml", ".yml"):
        raise InputError(f"{package}: a compiled pipeline is YAML; give a path that ends in .yaml")
    if not package.parent.is_dir():
        raise InputError(f"{package}: there is no such folder; make it first")
    # kfp takes seconds to import.
    from kfp import compiler

    from pipeline.definition import imdb_sentiment

    staging = package.with_name(f".{package.stem}.partial.yaml")
    try:
        compiler.Compiler().compile(_with_image(imdb_sentiment, image), str(staging))
        staging.replace(package)
    except OSError as error:
        raise InputError(
            f"{package}: cannot be written ({error.strerror}); give another path"
        ) from error
    finally:
        staging.unlink(missing_ok=True)


def _with_image(pipeline: Any, image: str | None) -> Any:
    """The pipeline, with another image for every task."""
    if image is None:
        return pipeline
    pipeline = copy.deepcopy(pipeline)
    for executor in pipeline.pipeline_spec.deployment_spec["executors"].values():
        executor["container"]["image"] = image
    return pipeline
