"""Reads schedules from YAML; what is wrong is told with its line."""

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml

from components.shared.errors import InputError
from components.shared.task_config import unknown_key_message
from pipeline.schedule.spec import Schedule

_LIST = "schedules"
_KEY_OF_FIELD = {"overrides": "set"}
_WORDS = {bool: "true or false", int: "a whole number", str: "a text, if need be in quotes"}


class _Entry(NamedTuple):
    """A value of a mapping, and the line of its key."""

    node: yaml.Node
    line: int


def read_schedules(path: Path) -> list[Schedule]:
    """The schedules of a file: one a YAML document, or a list under `schedules`.

    Raises:
        InputError: the file can't be read, isn't YAML, holds no schedule or two of one name and
            namespace, or one that isn't right; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save it as such") from error
    nodes = [node for document in _documents(path, text) for node in _listed(path, document)]
    if not nodes:
        raise InputError(f"{path}: holds no schedule; give at least name, cron and serving_dir")
    schedules: dict[tuple[str, str | None], Schedule] = {}
    for node in nodes:
        schedule = _schedule(path, node)
        key = (schedule.name, schedule.namespace)
        if key in schedules:
            raise InputError(f"{path}:{_line(node)}: name {schedule.name!r}: stands there twice")
        schedules[key] = schedule
    return list(schedules.values())


def _documents(path: Path, text: str) -> list[yaml.Node]:
    try:
        found = yaml.compose_all(text, yaml.SafeLoader)
        return [node for node in found if node.tag != "tag:yaml.org,2002:null"]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        star = "alias" in f"{error.context} {error.problem}"
        hint = "; a value that begins with '*' has to stand in quotes" if star else ""
        raise InputError(f"{path}{line}: not YAML ({error.problem}){hint}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error


def _listed(path: Path, node: yaml.Node) -> list[yaml.Node]:
    """The schedules of a document."""
    entries = _entries(path, node)
    if _LIST not in entries:
        return [node]
    for key, entry in entries.items():
        if key != _LIST:
            raise InputError(
                f"{path}:{entry.line}: {key!r}: stands beside {_LIST!r}; put it into each of them"
            )
    listed = entries[_LIST].node
    if not isinstance(listed, yaml.SequenceNode):
        raise InputError(f"{path}:{_line(listed)}: {_LIST}: must be a list; begin each with '- '")
    return list(listed.value)


def _schedule(path: Path, node: yaml.Node) -> Schedule:
    entries = _entries(path, node)
    lines = {key: entry.line for key, entry in entries.items()}
    for key in ("set", "kubernetes"):
        if key in entries and isinstance(entries[key].node, yaml.MappingNode):
            nested = _entries(path, entries[key].node)
            lines |= {inner: entry.line for inner, entry in nested.items()}
    values = {key: _value(path, entry) for key, entry in entries.items()}
    try:
        return _made(Schedule, values)
    except InputError as error:
        # A message begins with the key that it is about.
        match = re.match(r"(?:kubernetes: )?'?-{0,2}([\w-]+)", str(error))
        line = lines.get(match[1].replace("-", "_") if match else "", _line(node))
        raise InputError(f"{path}:{line}: {error}") from error


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of the values under its keys; a message begins with the key that it is about."""
    hints = get_type_hints(kind)
    names = {_KEY_OF_FIELD.get(field.name, field.name): field for field in fields(kind)}
    arguments = {}
    for key, value in values.items():
        if key not in names:
            raise InputError(unknown_key_message(key, list(names)))
        arguments[names[key].name] = _typed(key, value, hints[names[key].name])
    missing = [
        key
        for key, field in names.items()
        if field.default is MISSING and field.default_factory is MISSING and key not in values
    ]
    if missing:
        raise InputError(f"missing: {', '.join(missing)}; give each a value")
    return kind(**arguments)


def _typed(key: str, value: Any, hint: Any) -> Any:
    """A value as a field takes it."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(kind for kind in get_args(hint) if kind is not type(None))
        return None if value is None else _typed(key, value, inner)
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InputError(f"{key}: must be a list of texts")
        return tuple(value)
    if origin is Mapping or hint not in _WORDS:
        if not isinstance(value, dict):
            raise InputError(f"{key}: must be KEY: VALUE lines")
        return value if origin is Mapping else _nested(key, value, hint)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{key}: must be {_WORDS[hint]}")
    return value


def _nested(key: str, values: dict[str, Any], kind: Any) -> Any:
    try:
        return _made(kind, values)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def _entries(path: Path, node: yaml.Node) -> dict[str, _Entry]:
    """The keys of a mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}:{_line(node)}: not a schedule; give KEY: VALUE lines")
    entries: dict[str, _Entry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            raise InputError(f"{path}:{_line(key)}: a key must be a plain word")
        if key.value in entries:
            raise InputError(f"{path}:{_line(key)}: {key.value!r}: stands there twice; keep one")
        entries[key.value] = _Entry(value, _line(key))
    return entries


def _value(path: Path, entry: _Entry) -> Any:
    if isinstance(entry.node, yaml.MappingNode):
        return {key: _value(path, inner) for key, inner in _entries(path, entry.node).items()}
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(entry.node, deep=True)
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path}:{entry.line}: not a value ({error.problem})") from error
    finally:
        loader.dispose()


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
