"""Turns the values of a configuration into JSON, and what a command line or KFP gives back."""

import types
from typing import Any, Literal, Union, get_args, get_origin

from components.shared.errors import InputError

_TRUE, _FALSE, _NONE = ("true", "yes", "1"), ("false", "no", "0"), ("none", "null")


def to_json(value: Any) -> Any:
    """A field's value as JSON; None becomes "none", as KFP takes no null for a parameter."""
    if value is None:
        return _NONE[0]
    return list(value) if isinstance(value, tuple) else value


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Turns a string or JSON value into the type that a field declares.

    Raises:
        InputError: it can't be; the message begins with `name`.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in _NONE):
            return None
        return coerce(name, value, next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{name}={value}: must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(i, str) for i in items):
            raise InputError(f"{name}={value}: must be a list of strings, separated by spaces")
        return tuple(items)
    return _coerce_scalar(name, value, hint)


def _coerce_scalar(name: str, value: Any, hint: type) -> Any:
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    error = InputError(f"{name}={value}: must be {expected[hint]}")
    if hint is bool:
        text = str(value).lower()
        if text not in _TRUE + _FALSE:
            raise error
        return text in _TRUE
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise error
    if hint is str:
        return str(value)
    try:
        # KFP carries every number of a struct as a double, so 64 arrives as 64.0.
        number = float(value)
        result = int(value) if isinstance(value, str) and hint is int else hint(number)
    except (ValueError, OverflowError):
        raise error from None
    if result != number:
        raise error
    return result
