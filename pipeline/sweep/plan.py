"""What a sweep on this machine is: a run whose trials are drawn before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pipeline import resume
from pipeline.config import PipelineConfig
from pipeline.plan import RunSpec, plan
from pipeline.sweep.space import parse_space, sample, trials

SWEEP_FILE = "sweep.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSpec(RunSpec):
    """What to sweep, checked: made by `plan_sweep`."""

    trials: list[dict[str, Any]] = field(default_factory=list)
    """Of each its number, the names of the searched keys, and a TrainConfig as JSON."""

    parallelism: int = 1
    """How many trials are trained at the same time."""

    def arguments(self) -> dict[str, Any]:
        """The parameters of the sweep's pipeline."""
        configs = self.config.arguments()
        return {
            "trials": self.trials,
            "source": self.source,
            "serving_dir": self.serving_dir,
            "image": self.image,
            "workspace": str(self.run_dir),
            **{name: configs[name] for name in ("ingest_config", "preprocess_config")},
        }


def plan_sweep(
    *,
    source: str,
    preset: str,
    config: PipelineConfig,
    pipeline_root: str,
    search: Sequence[str],
    count: int,
    seed: int,
    parallelism: int,
) -> SweepSpec:
    """Checks a sweep, draws its trials and names it; makes nothing.

    Args:
        source: see `plan`.
        preset: see `plan`.
        config: what all trials start from.
        pipeline_root: see `plan`.
        search: see `parse_space`.
        count: how many trials, at most.
        seed: draws them.
        parallelism: how many are trained at the same time.

    Raises:
        InputError: a search, the source or the folder can't be used.
    """
    drawn = trials(sample(parse_space(search, config), count, seed), config.train)
    run = plan(
        source=source,
        preset=preset,
        config=config,
        serving_dir=pipeline_root,
        pipeline_root=pipeline_root,
    )
    return _sweep_of(run, drawn, parallelism)


def save(spec: SweepSpec) -> None:
    """Makes the folder of a sweep, and keeps in it what it takes to resume it.

    Raises:
        InputError: the folder can't be made.
    """
    resume.save(spec, {"trials": spec.trials, "parallelism": spec.parallelism}, SWEEP_FILE)


def load(pipeline_root: str, sweep_id: str, source: str | None) -> SweepSpec:
    """The sweep that is to be resumed; see `pipeline.resume.load`.

    Raises:
        InputError: there is no such sweep, or the source is missing or another one.
    """
    run, kept = resume.load(pipeline_root, sweep_id, source, SWEEP_FILE)
    return _sweep_of(run, kept["trials"], kept["parallelism"])


def _sweep_of(run: RunSpec, drawn: list[dict[str, Any]], parallelism: int) -> SweepSpec:
    values = {part.name: getattr(run, part.name) for part in fields(RunSpec)}
    # No champion is known to a sweep, nor made by it.
    values["serving_dir"] = str(run.run_dir / "serving")
    return SweepSpec(**values, trials=drawn, parallelism=parallelism)
