"""The command `run`: the whole pipeline on this machine."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from components.shared.errors import (
    FAILURE_EXIT,
    INPUT_ERROR_EXIT,
    NOT_BLESSED_EXIT,
    InputError,
)
from components.shared.image import DEFAULT_IMAGE
from pipeline.commands.options import keys_help, run_options, serving_dir_option
from pipeline.config import preset as named_preset
from pipeline.console import Console
from pipeline.process import Terminated
from pipeline.runner import Containers

_OF_THE_RUN = (
    *("preset", "overrides", "serving_dir", "skip_unchanged"),
    *("runner", "image", "gpus"),
)
_OPTION = {"overrides": "set"}

if TYPE_CHECKING:
    from pipeline.plan import RunSpec


@click.command(epilog=keys_help())
@run_options(source="bundled")
@serving_dir_option("The registry: where the champion is and a blessed model goes.")
@click.option(
    "--skip-unchanged",
    is_flag=True,
    help="Ends after ingest if the champion was made of the same reviews, configuration and image.",
)
@click.option(
    "--pipeline-root",
    metavar="DIR",
    default="runs",
    show_default=True,
    help="Gets a folder for each run, with its outputs and logs.",
)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Where a task runs: in a process or in a Docker container.",
)
@click.option(
    "--image",
    help=f"The image of the containers, pulled if it isn't there.  [default: {DEFAULT_IMAGE}]",
)
@click.option(
    "--gpus",
    is_flag=True,
    help="Gives train all GPUs of this machine; it fails where it sees none.",
)
@click.option(
    "--resume",
    "run_id",
    metavar="RUN",
    help="Goes on with a run that has failed or was cut off, as it was begun: finished tasks are "
    "kept, training continues from its checkpoint.",
)
@click.option("--json", "as_json", is_flag=True, help="Ends with one JSON object on stdout.")
@click.option("--verbose", is_flag=True, help="Shows all that the tasks print.")
@click.option("--require-blessed", is_flag=True, help="Exits with 3 if the gate refuses the model.")
@click.pass_context
def run(
    context: click.Context,
    run_id: str | None,
    as_json: bool,
    verbose: bool,
    require_blessed: bool,
    **options: Any,
) -> int:
    """Run the pipeline on this machine.

    Exit status: 0 when it ran to its end, 1 when a task failed, 2 for bad usage or input, 3 for a
    model that wasn't blessed where --require-blessed is given.
    """
    if run_id is not None:
        _require_resumable(context)
    if options["runner"] != "docker" and (options["image"] or options["gpus"]):
        raise click.UsageError("--image and --gpus go with --runner docker")
    # Imported by the command that needs them, so that --help doesn't wait.
    from pipeline import local, result

    started = time.monotonic()
    console = Console(sys.stderr if as_json else sys.stdout, verbose=verbose)
    spec = None
    try:
        if run_id is not None:
            source = _given(context, "source")
            spec, containers = _resumed(run_id, options["pipeline_root"], source, console)
        else:
            spec = _planned(**options)
            containers = _new(spec, _settings(**options), console)
        tasks = local.run(spec, console, containers)
        outcome = result.gather(spec, tasks, time.monotonic() - started)
    except local.RunFailed as error:
        console.say_all([*result.failure_lines(error), *result.resume_lines(spec)])
        _answer(as_json, result.failure(spec, error))
        return INPUT_ERROR_EXIT if error.input_error else FAILURE_EXIT
    except (InputError, OSError) as error:
        # `main` says what happened.
        _answer(as_json, result.failure(spec, error))
        raise
    except Terminated:
        with suppress(OSError):
            console.say_all(["Ended before the run was complete.", *result.resume_lines(spec)])
        raise
    refused = outcome["blessed"] is False
    if refused:
        console.skipped("push", "NOT_BLESSED")
    console.say_all(result.summary_lines(outcome))
    _answer(as_json, outcome)
    return NOT_BLESSED_EXIT if require_blessed and refused else 0


def _answer(as_json: bool, value: Mapping[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False).encode())


def _planned(
    preset: str, overrides: dict[str, str], runner: str, image: str | None, gpus: bool, **rest: Any
) -> "RunSpec":
    from pipeline.plan import plan

    return plan(
        preset=preset,
        config=named_preset(preset).override(overrides),
        image=(image or DEFAULT_IMAGE) if runner == "docker" else "",
        **rest,
    )


def _settings(runner: str, image: str | None, gpus: bool, **rest: Any) -> dict[str, Any]:
    """How the tasks are run."""
    return {"runner": runner, "image": image or DEFAULT_IMAGE, "gpus": gpus}


def _new(spec: "RunSpec", settings: dict[str, Any], console: Console) -> Containers | None:
    from pipeline.resume import save

    _say_where(spec, console)
    containers = _containers(spec, settings, console)
    save(spec, settings)
    return containers


def _resumed(
    run_id: str, pipeline_root: str, source: str | None, console: Console
) -> tuple["RunSpec", Containers | None]:
    from pipeline.resume import forget_outdated, load

    spec, settings = load(pipeline_root, run_id, source)
    forget_outdated(spec)
    _say_where(spec, console)
    return spec, _containers(spec, settings, console)


def _say_where(spec: "RunSpec", console: Console) -> None:
    console.say(f"Run {spec.run_id}, preset {spec.preset}; outputs and logs go to {spec.run_dir}")


def _containers(
    spec: "RunSpec", settings: Mapping[str, Any], console: Console
) -> Containers | None:
    if settings["runner"] != "docker":
        return None
    # docker takes a while to import, which a run without containers needn't wait for.
    from pipeline.engine import prepare

    return prepare(spec, settings["image"], settings["gpus"], console.say)


def _given(context: click.Context, name: str) -> Any:
    """The value of an option that the command line gives, None where it doesn't."""
    is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    return context.params[name] if is_given else None


def _require_resumable(context: click.Context) -> None:
    given = [name for name in _OF_THE_RUN if _given(context, name) is not None]
    if given:
        options = ", ".join(f"--{_OPTION.get(name, name).replace('_', '-')}" for name in given)
        raise click.UsageError(f"--resume goes on with a run as it is: leave out {options}")
