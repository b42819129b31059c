"""The KFP component of export."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def export(
    model: Input[Model], vocabulary: Input[Artifact], workspace: str, saved_model: Output[Model]
) -> None:
    """Build the SavedModel for serving, then load and query it in a clean process.

    Args:
        model: The trained Keras model.
        vocabulary: The vocabulary that it was trained with.
        workspace: The folder that the tasks of the run share.
        saved_model: A SavedModel whose signature takes raw text.
    """
    from components.export.export import export
    from components.shared import events
    from components.shared.running import running

    with running(workspace, "export"):
        summary = export(model.path, vocabulary.path, saved_model.path)
        saved_model.metadata.update(framework="tensorflow", **summary)
        events.figure(f"SavedModel of {summary['megabytes']:.1f} MB, checked in a clean process")
