"""The command `sweep`: a search for a better configuration, on this machine."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from components.shared.artifacts import read_json
from components.shared.errors import FAILURE_EXIT, INPUT_ERROR_EXIT, InputError
from pipeline.commands.options import Decorator, keys_help, run_options
from pipeline.config import preset as named_preset
from pipeline.console import Console, duration, printable
from pipeline.kept import TASKS
from pipeline.process import Terminated

if TYPE_CHECKING:
    from pipeline.sweep.plan import SweepSpec

_OF_THE_SWEEP = ("preset", "overrides", "search", "count", "seed", "parallelism")
_OPTION = {"overrides": "set", "count": "trials"}


def search_options(command: Any) -> Any:
    """What a sweep searches: `search`, `count`, `seed` and `parallelism`."""
    options: Sequence[Decorator] = (
        click.option(
            "--search",
            metavar="KEY=VALUES",
            multiple=True,
            help="A key of train and where to search it: VALUE,VALUE,... or LOW..HIGH, or "
            "LOW..HIGH:log for even steps of the logarithm. Can be given several times.",
        ),
        click.option(
            "--trials",
            "count",
            type=click.IntRange(1, 200),
            default=20,
            show_default=True,
            help="How many to train; fewer where there are fewer combinations.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**31 - 1),
            default=0,
            show_default=True,
            help="Draws the trials.",
        ),
        click.option(
            "--parallelism",
            type=click.IntRange(1, 1000),
            default=1,
            show_default=True,
            help="How many are trained at the same time.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def require_search(search: Sequence[str]) -> None:
    """Refuses a sweep over nothing."""
    if not search:
        raise click.UsageError("nothing to search: give --search KEY=VALUE,VALUE,... or LOW..HIGH")


@click.command(epilog=keys_help())
@search_options
@run_options(source="bundled")
@click.option(
    "--pipeline-root",
    metavar="DIR",
    default="runs",
    show_default=True,
    help="Gets a folder for each sweep, with its outputs and logs.",
)
@click.option(
    "--resume",
    "sweep_id",
    metavar="SWEEP",
    help="Goes on with a sweep that was cut off, as it was begun: finished trials are kept, the "
    "others continue from their checkpoints.",
)
@click.option("--json", "as_json", is_flag=True, help="Ends with one JSON object on stdout.")
@click.option("--verbose", is_flag=True, help="Shows all that the tasks print.")
@click.pass_context
def sweep(
    context: click.Context, sweep_id: str | None, as_json: bool, verbose: bool, **options: Any
) -> int:
    """Search for a better configuration, on this machine.

    Trains the same model in several configurations on the same reviews and compares them by their
    accuracy on validation; the test split is never read. A trial that fails is recorded as such.

    Exit status: 0 when all trials have ended, well or not; 1 when another task failed or no trial
    could be trained; 2 for bad usage or input.
    """
    if sweep_id is not None:
        _require_resumable(context)
    else:
        require_search(options["search"])
    # Imported by the command that needs them, so that --help doesn't wait.
    from pipeline import local, result

    started = time.monotonic()
    console = Console(sys.stderr if as_json else sys.stdout, verbose=verbose)
    spec = None
    try:
        spec = _resumed(context, sweep_id) if sweep_id else _planned(**options)
        _say_where(spec, console)
        _prepare(spec)
        local.run(spec, console)
    except local.RunFailed as error:
        console.say_all([*result.failure_lines(error), *result.resume_lines(spec, "sweep")])
        _answer(as_json, result.failure(spec, error))
        return INPUT_ERROR_EXIT if error.input_error else FAILURE_EXIT
    except (InputError, OSError) as error:
        # `main` says what happened.
        _answer(as_json, result.failure(spec, error))
        raise
    except Terminated:
        with suppress(OSError):
            lines = result.resume_lines(spec, "sweep")
            console.say_all(["Ended before the sweep was complete.", *lines])
        raise
    made = spec.run_dir / TASKS / "compare"
    table = (made / "table").read_text(encoding="utf-8")
    console.say_all(["", *map(printable, table.splitlines())])
    console.say_all(["", f"plot        {made / 'comparison' / 'trials.png'}"])
    console.say(f"time        {duration(time.monotonic() - started)}")
    found = read_json(made / "comparison" / "trials.json")
    _answer(as_json, {"sweep_id": spec.run_id, "run_dir": str(spec.run_dir), **found})
    return 0


def _planned(preset: str, overrides: dict[str, str], **rest: Any) -> "SweepSpec":
    from pipeline.sweep.plan import plan_sweep

    return plan_sweep(preset=preset, config=named_preset(preset).override(overrides), **rest)


def _resumed(context: click.Context, sweep_id: str) -> "SweepSpec":
    from pipeline.sweep.plan import load

    source = context.params["source"] if _is_given(context, "source") else None
    return load(context.params["pipeline_root"], sweep_id, source)


def _prepare(spec: "SweepSpec") -> None:
    """Makes what the runner reads, where it isn't there yet."""
    from pipeline.compile import compile_sweep_for_this_machine
    from pipeline.sweep.plan import save

    if not spec.run_dir.exists():
        save(spec)
    package = spec.run_dir / "pipeline.yaml"
    if not package.exists():
        compile_sweep_for_this_machine(package, spec.parallelism)


def _say_where(spec: "SweepSpec", console: Console) -> None:
    console.say(
        f"Sweep {spec.run_id}, {len(spec.trials)} trials from preset {spec.preset}; outputs and "
        f"logs go to {spec.run_dir}"
    )


def _answer(as_json: bool, value: dict[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False).encode())


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _require_resumable(context: click.Context) -> None:
    given = [name for name in _OF_THE_SWEEP if _is_given(context, name)]
    if given:
        options = ", ".join(f"--{_OPTION.get(name, name)}" for name in given)
        raise click.UsageError(f"--resume goes on with a sweep as it is: leave out {options}")
