"""What the configurations of all tasks share: checks, and conversion from and to JSON values."""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Self, get_type_hints

from components.shared.coercion import coerce, to_json
from components.shared.errors import InputError


def require_range(config: Any, **ranges: tuple[float, float]) -> None:
    """Checks that each named field is within its bounds, or none.

    Raises:
        InputError: one isn't.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{name}={value}: out of range; it must be from {low:g} to {high:g}")


class TaskConfig:
    """What the configurations of all tasks share: conversion from and to JSON values."""

    __slots__ = ()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Makes a configuration of `values`, which may be strings (from a command line) or JSON.

        Raises:
            InputError: an unknown key, a value of the wrong type or out of range.
        """
        hints = get_type_hints(cls)
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for key in values:
            if key not in known:
                raise InputError(unknown_key_message(key, known))
        return cls(**{key: coerce(key, value, hints[key]) for key, value in values.items()})

    def to_mapping(self) -> dict[str, Any]:
        """The configuration as JSON values; `from_mapping` turns them back.

        None becomes "none": KFP takes no null for a parameter.
        """
        values = asdict(self)  # type: ignore[call-overload]
        return {k: to_json(v) for k, v in values.items()}


def unknown_key_message(key: str, known: list[str]) -> str:
    """Says that `key` is unknown, with the nearest known one."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(sorted(known))}"
    return f"{key!r}: unknown configuration key; {hint}"
