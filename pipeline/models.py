"""What the commands on the registry show: its versions, their states and what isn't right."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from components.shared.accelerators import devices_text
from components.shared.errors import InputError
from components.shared.registry.entries import Entry, Prune
from components.shared.registry.registry import Registry
from components.shared.registry.repair import Finding, Inspection
from pipeline.console import printable

_HEADINGS = ("version", "when", "state", "accuracy", "data", "run", "by")
_WIDTHS = (7, 19, 22, 8, 12, 22, 0)


def listing(registry: Registry) -> dict[str, Any]:
    """The registry as JSON values: `versions` and `prunes`, oldest first, and `problems`.

    Raises:
        InputError, StorageFailure, OSError: the storage can't be read.
    """
    inspection = Inspection(registry)
    lineage = inspection.lineage
    rows = [_version(entry, inspection) for entry in lineage.entries]
    rows += [
        {"version": finding.number, "state": "damaged"}
        for finding in inspection.findings
        if finding.condition == "damaged"
    ]
    return {
        "serving_dir": registry.location,
        "versions": sorted(rows, key=lambda row: row["version"]),
        "prunes": [asdict(change) for change in lineage.changes if isinstance(change, Prune)],
        "problems": [problem(finding) for finding in inspection.findings],
    }


def table(listed: Mapping[str, Any]) -> Iterator[str]:
    """A listing for a reader, the newest version first."""
    if not listed["versions"]:
        yield f"{listed['serving_dir']}: no version yet"
    else:
        yield _row(heading.upper() for heading in _HEADINGS)
    for row in reversed(listed["versions"]):
        yield _row(_cells(row))
    for prune in listed["prunes"]:
        removed = ", ".join(map(str, prune["removed"]))
        yield printable(f"entry {prune['entry']} pruned {removed}: {_who_when_why(prune)}")
    for found in listed["problems"]:
        yield printable(f"problem: {found['message']}")


def describe(registry: Registry, number: int) -> dict[str, Any]:
    """All that is known of an entry of the log, as JSON values.

    Of a version that includes its `state`, whether it is `served`, and `problems`, for which each
    of its files is held to its SHA-256.

    Raises:
        InputError: there is no such entry, or it is damaged.
        StorageFailure, OSError: the storage can't be read.
    """
    if number not in registry.log.found():
        raise InputError(
            f"{registry.location}: the registry has no version {number}; see which there are: "
            "imdb-pipeline models list"
        )
    change = registry.log.read(number)
    described = {"serving_dir": registry.location, **asdict(change)}
    if isinstance(change, Entry):
        inspection = Inspection(registry, thorough={number})
        about = [finding for finding in inspection.findings if finding.number == number]
        described |= _version(change, inspection) | {"problems": [problem(f) for f in about]}
    return described


def description(described: Mapping[str, Any]) -> Iterator[str]:
    """An entry for a reader."""
    values = dict(described)
    if values["action"] == "prune":
        yield f"entry       {values['entry']}: pruned {', '.join(map(str, values['removed']))}"
    else:
        yield f"version     {values['version']}: {values['state']}{_served(values)}"
        yield f"how         {_how(values)}"
    yield printable(f"when        {values['created']}")
    yield printable(f"by          {values['by'] or 'unknown'}")
    yield printable(f"why         {values['reason'] or 'not said'}")
    for name in ("run_id", "source", "preset", "image", "fingerprint", "test_fingerprint"):
        if values.get(name):
            yield printable(f"{name:<11} {values[name]}")
    if devices := values.get("devices"):
        yield printable(f"trained on  {devices_text(devices)}")
    for name, value in values.get("metrics", {}).items():
        yield printable(f"{name:<11} {value}")
    for gate_reason in values.get("reasons", ()):
        yield printable(f"gate        {_sentence(gate_reason)}")
    for name, digest in values.get("manifest", {}).items():
        yield printable(f"file        {name}  {digest}")
    for found in values.get("problems", ()):
        yield printable(f"problem     {found['message']}")


def problem(finding: Finding) -> dict[str, Any]:
    """A finding as JSON values."""
    return {
        "message": finding.message,
        "version": finding.number,
        "repairable": finding.repair is not None,
        "harmless": finding.harmless,
    }


def _version(entry: Entry, inspection: Inspection) -> dict[str, Any]:
    conditions = {f.number: f.condition for f in inspection.findings if f.condition}
    return {
        "version": entry.version,
        "state": conditions.get(entry.version) or inspection.lineage.state(entry.version),
        "served": entry.version == inspection.served,
        "champion": entry == inspection.lineage.champion,
        "action": entry.action,
        "restores": entry.restores,
        "created": entry.created,
        "by": entry.by,
        "reason": entry.reason,
        "run_id": entry.run_id,
        "fingerprint": entry.fingerprint,
        "accuracy": entry.metrics.get("accuracy"),
    }


def _cells(row: Mapping[str, Any]) -> Iterable[str]:
    if row["state"] == "damaged":
        return (str(row["version"]), "", "damaged")
    accuracy = row["accuracy"]
    return (
        str(row["version"]),
        row["created"][:19].replace("T", " "),
        f"{row['state']}{_served(row)}",
        f"{accuracy:.4f}" if isinstance(accuracy, int | float) else "",
        row["fingerprint"][:12],
        row["run_id"],
        f"{row['by']} {_how(row) if row['restores'] else ''}",
    )


def _served(row: Mapping[str, Any]) -> str:
    """What is to be added to the state of a version that servers load though it isn't newest."""
    return ", served" if row["served"] and row["state"] != "champion" else ""


def _how(row: Mapping[str, Any]) -> str:
    return f"(is version {row['restores']} again)" if row["restores"] else "promoted"


def _who_when_why(change: Mapping[str, Any]) -> str:
    why = f", {change['reason']}" if change["reason"] else ""
    return f"{change['created']}, by {change['by']}{why}"


def _sentence(gate_reason: Any) -> str:
    if not isinstance(gate_reason, dict) or "sentence" not in gate_reason:
        return str(gate_reason)
    return f"{'passed' if gate_reason.get('passed') else 'failed'}: {gate_reason['sentence']}"


def _row(cells: Iterable[str]) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False))
    return printable("  ".join(padded)).rstrip()
