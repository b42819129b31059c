"""What a task tells its runner: single lines on standard output, readable in any log.

A line is `@<kind> <JSON object>`. The kinds are `progress` (text to show while the task runs),
`figure` (the one figure that tells how the task went) and `error` (why it ended).
"""

import json
from typing import Any, Literal

Kind = Literal["progress", "figure", "error"]
_KINDS = ("progress", "figure", "error")


def emit(kind: Kind, **fields: Any) -> None:
    """Prints one event; `fields` must be JSON-serializable."""
    # In one piece: Beam's workers are threads that print at the same time.
    print(f"@{kind} {json.dumps(fields, ensure_ascii=False)}\n", end="", flush=True)


def progress(text: str) -> None:
    """Shows `text` while the task runs."""
    emit("progress", text=text)


def figure(text: str) -> None:
    """Gives the task's one telling figure."""
    emit("figure", text=text)


def parse(line: str) -> tuple[str, dict[str, Any]] | None:
    """The kind and fields of the event that `line` holds, None if it holds none."""
    kind, _, payload = line.strip().partition(" ")
    if kind[:1] != "@" or kind[1:] not in _KINDS:
        return None
    try:
        fields = json.loads(payload)
    except json.JSONDecodeError:
        return None
    return (kind[1:], fields) if isinstance(fields, dict) else None
