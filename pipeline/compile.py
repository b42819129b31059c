"""Compiles the pipeline to KFP's intermediate representation."""

from pathlib import Path

from components.shared.errors import InputError


def compile_pipeline(package: Path) -> None:
    """Writes the compiled pipeline to `package`; the file appears whole or not at all.

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
        compiler.Compiler().compile(imdb_sentiment, str(staging))
        staging.replace(package)
    except OSError as error:
        raise InputError(
            f"{package}: cannot be written ({error.strerror}); give another path"
        ) from error
    finally:
        staging.unlink(missing_ok=True)
