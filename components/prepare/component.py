"""The KFP component of prepare, which only a cluster runs."""

from kfp import dsl

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def prepare(workspace: str) -> None:
    """Make the run's volume writable for the user of the other tasks.

    Args:
        workspace: The folder that the tasks of the run share, the root of a volume.
    """
    from components.prepare.volume import make_writable
    from components.shared import events
    from components.shared.errors import task_boundary

    with task_boundary():
        events.figure(make_writable(workspace))
