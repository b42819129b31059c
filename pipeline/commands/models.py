"""The commands `models ...`: the versions of the model in the registry."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import click

from components.shared.errors import FAILURE_EXIT
from pipeline.commands.options import Decorator, serving_dir_option

_json = click.option("--json", "as_json", is_flag=True, help="Prints one JSON object.")
_dry_run = click.option("--dry-run", is_flag=True, help="Changes nothing, and tells what it would.")


def _recorded(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that adds an entry to the log: who, and why."""
    by = click.option("--by", metavar="NAME", help="Who is doing it.  [default: user@host]")
    why = click.option("--reason", metavar="TEXT", default="", help="Why; the log keeps it.")
    return by(why(command))


_serving_dir: Decorator = serving_dir_option("The registry, a local path or a URL.")


@click.group()
def models() -> None:
    """See, roll back, prune and repair the versions of the model."""


@models.command("list")
@_serving_dir
@_json
def list_command(serving_dir: str, as_json: bool) -> None:
    """List the versions: when, by which run, on which data, how accurate, in which state.

    The champion is the newest version, which servers load. A version is superseded once a better
    one took its place, and rolled back once a rollback went past it.
    """
    from components.shared.registry.registry import Registry
    from pipeline.models import listing, table

    listed = listing(Registry.open(serving_dir))
    _print([json.dumps(listed, ensure_ascii=False)] if as_json else table(listed))


@models.command()
@_serving_dir
@click.argument("version", type=click.IntRange(min=1))
@_json
def show(serving_dir: str, version: int, as_json: bool) -> None:
    """Show all that the log keeps of a VERSION, and whether its files are those it published."""
    from components.shared.registry.registry import Registry
    from pipeline.models import describe, description

    described = describe(Registry.open(serving_dir), version)
    lines = [json.dumps(described, ensure_ascii=False)] if as_json else description(described)
    _print(lines)


@models.command()
@_serving_dir
@click.option(
    "--to",
    metavar="VERSION",
    type=click.IntRange(min=1),
    help="The version to go back to.  [default: the newest before the champion that is still "
    "whole and wasn't rolled back itself]",
)
@_recorded
@_json
def rollback(serving_dir: str, to: int | None, by: str | None, reason: str, as_json: bool) -> None:
    """Make an old version the champion again.

    Its files are published once more, as the highest version, which servers load. A candidate that
    is being judged against the present champion is refused then.
    """
    from components.shared.registry import upkeep
    from components.shared.registry.registry import Registry

    registry = Registry.open(serving_dir)
    entry = upkeep.rollback(registry, to, by=by, reason=reason)
    answer = {
        "serving_dir": registry.location,
        "version": entry.version,
        "restores": entry.restores,
        "replaced": entry.compared_with,
        "by": entry.by,
        "reason": reason,
    }
    line = (
        f"version {entry.version} is the champion: version {entry.restores} again, in place of "
        f"version {entry.compared_with}"
    )
    _print([json.dumps(answer, ensure_ascii=False) if as_json else line])


@models.command()
@_serving_dir
@click.option(
    "--keep",
    metavar="K",
    type=click.IntRange(min=1),
    required=True,
    help="How many of the newest versions stay; the champion is one of them.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Also removes the version that a rollback would go back to.",
)
@_dry_run
@_recorded
@_json
def prune(
    serving_dir: str, keep: int, force: bool, dry_run: bool, by: str | None, reason: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Remove the SavedModels of old versions; the log keeps their entries.

    The champion always stays, and so does the version that a rollback would go back to, unless
    --force is given. A removed version can't be rolled back to.
    """
    from components.shared.registry import upkeep
    from components.shared.registry.registry import Registry

    registry = Registry.open(serving_dir)
    done = upkeep.prune(registry, keep, force=force, dry_run=dry_run, by=by, reason=reason)
    if as_json:
        answer = {"removed": done.removed, "kept": done.kept, "dry_run": dry_run,
                  "rollback_target": done.rollback_target}  # fmt: skip
        _print([json.dumps({"serving_dir": registry.location, **answer})])
        return
    would = "would be removed" if dry_run else "removed"
    _print([f"{would}: {_numbers(done.removed)}", f"stay: {_numbers(done.kept)}"])
    if done.rollback_target is not None:
        what = "and with it" if force else "it stays, give --force to remove it, too, and with it"
        _print([
            f"version {done.rollback_target} is the one that a rollback would go back to: {what} "
            "the way back"
        ])  # fmt: skip


@models.command()
@_serving_dir
@_dry_run
@click.option(
    "--abandoned-after",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="The age from which a push that never became a version is taken for dead; 0 if none is "
    "in flight.",
)
@_json
def repair(serving_dir: str, dry_run: bool, abandoned_after: float, as_json: bool) -> int:
    """Finish or remove what a crash left, and name what can't be repaired.

    Publishes versions that are in the log and not yet in their place, ends prunes, removes pushes
    that never became versions. Holds each file to its SHA-256. The exit status is 1 where
    something is left that a person has to see to.
    """
    from components.shared.registry.registry import Registry
    from components.shared.registry.repair import Inspection
    from pipeline.models import problem

    registry = Registry.open(serving_dir)
    inspection = Inspection(registry, thorough=range(1, 10**8), in_flight=abandoned_after)
    repaired, left = [], []
    for finding, obstacle in inspection.repair(dry_run):
        known = problem(finding)
        if obstacle is None:
            repaired.append(known)
        else:
            left.append({**known, "message": obstacle})
    if as_json:
        answer = {"repaired": repaired, "left": left, "dry_run": dry_run}
        _print([json.dumps({"serving_dir": registry.location, **answer}, ensure_ascii=False)])
    else:
        word = "to repair" if dry_run else "repaired"
        _print(f"{word}: {known['message']}" for known in repaired)
        _print(f"{'stays' if known['harmless'] else 'left'}: {known['message']}" for known in left)
        if not repaired and not left:
            _print([f"{registry.location}: nothing to repair"])
    return 0 if all(known["harmless"] for known in left) else FAILURE_EXIT


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _numbers(versions: list[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
