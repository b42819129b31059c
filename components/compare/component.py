"""The KFP component of compare."""

from kfp import dsl
from kfp.dsl import Artifact, Markdown, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def compare(
    trials: list[dict],
    results: list[dict],
    comparison: Output[Artifact],
    table: Output[Markdown],
) -> None:
    """Compare the trials of a sweep by their accuracy on validation.

    Args:
        trials: What was asked for: of each trial the number, the names of the keys that were
            searched, and the configuration, a TrainConfig as JSON.
        results: What came of it: of each trial the number, and its figures or what went wrong.
        comparison: trials.json and trials.png.
        table: The same to read, with the arguments that give the best configuration.
    """
    from pathlib import Path

    from components.compare.compare import compare, summary
    from components.shared import events
    from components.shared.errors import task_boundary

    with task_boundary():
        found = compare(trials, results, comparison.path)
        Path(table.path).write_text(summary(found), encoding="utf-8")
        best = found["trials"][found["best"]]
        accuracy = best["validation_accuracy"]
        comparison.metadata.update(best_trial=best["number"], validation_accuracy=accuracy)
        events.figure(f"best: trial {best['number']}, validation accuracy {accuracy:.4f}")
