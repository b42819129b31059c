"""The KFP component of push."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def push(
    saved_model: Input[Model],
    evaluation: Input[Artifact],
    statistics: Input[Artifact],
    serving_dir: str,
    run_id: str,
    image: str,
    workspace: str,
    pushed_model: Output[Model],
) -> None:
    """Promote the blessed candidate in the registry, from where it is served.

    Args:
        saved_model: The candidate.
        evaluation: The evaluation that blessed it.
        statistics: Those of its reviews, for the record.
        serving_dir: The registry.
        run_id: Which run made it.
        image: The image of the tasks.
        workspace: The folder that the tasks of the run share.
        pushed_model: pushed.json: the version, and where it is.
    """
    from components.push.push import push
    from components.shared import events
    from components.shared.outcome import note
    from components.shared.running import running

    with running(workspace, "push"):
        pushed = push(
            saved_model.path,
            evaluation.path,
            serving_dir,
            run_id,
            pushed_model.path,
            image=image,
            statistics=statistics.path,
        )
        note(workspace, version=pushed["version"])
        pushed_model.metadata.update(version=pushed["version"], serving_dir=serving_dir)
        events.figure(f"version {pushed['version']}")
