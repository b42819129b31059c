"""The KFP component of notify."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def notify(
    status: PipelineTaskFinalStatus,
    run_id: str,
    run_name: str,
    workflow_name: str,
    ui_url: str,
    workspace: str,
) -> None:
    """Tell how the run has ended: post it to the webhook that NOTIFY_WEBHOOK_URL names.

    A webhook that doesn't answer is reported in the log, and changes nothing about the run.

    Args:
        status: How the tasks have ended, as KFP sees it.
        run_id: The run.
        run_name: Its name; empty for a scheduled run.
        workflow_name: The name of its Argo workflow, which stands in for an empty one.
        ui_url: Where KFP's user interface is, for the link; empty for no link.
        workspace: The folder that the tasks of the run share.
    """
    import os

    from components.notify.message import message
    from components.notify.webhook import post
    from components.shared import events
    from components.shared.errors import task_boundary
    from components.shared.outcome import read_outcome

    with task_boundary():
        told = message(
            read_outcome(workspace),
            kfp_state=status.state,
            kfp_error=status.error_message,
            run_id=run_id,
            run_name=run_name or workflow_name or run_id,
            ui_url=ui_url,
        )
        print(told["text"])
        url = os.environ.get("NOTIFY_WEBHOOK_URL", "").strip()
        events.figure(post(url, told) if url else f"{told['state']}, no webhook to tell")
