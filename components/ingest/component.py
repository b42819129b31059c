"""The KFP component of ingest."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def ingest(
    source: str,
    config: dict,
    preprocess_config: dict,
    train_config: dict,
    evaluate_config: dict,
    image: str,
    serving_dir: str,
    skip_unchanged: bool,
    workspace: str,
    reviews: Output[Dataset],
    champion_statistics: Output[Artifact],
) -> bool:
    """Bring the raw reviews in, check them, and name what was seen.

    Args:
        source: "bundled", "tfds", or the path or URI of reviews in aclImdb's layout.
        config: An IngestConfig as JSON.
        preprocess_config: That of preprocess; this and the next four are for `skip_unchanged`.
        train_config: That of train.
        evaluate_config: That of evaluate.
        image: The image of the tasks.
        serving_dir: The registry that holds the champion.
        skip_unchanged: Whether the run is over if the champion was made of the same reviews,
            configuration and image.
        workspace: The folder that the tasks of the run share.
        reviews: The prepared TFDS data set.
        champion_statistics: What preprocess holds the reviews against.

    Returns:
        Whether the run goes on.
    """
    from components.ingest.ingest import ingest
    from components.ingest.outputs import headline, metadata
    from components.ingest.unchanged import unchanged_champion
    from components.shared import events
    from components.shared.champion_statistics import save_champion_statistics
    from components.shared.config import IngestConfig
    from components.shared.outcome import note
    from components.shared.recorded import recorded_config
    from components.shared.registry.serving_dir import check_writable
    from components.shared.running import running

    champion = None
    with running(workspace, "ingest"):
        # On a cluster nobody has looked yet, and a training that can't be pushed is in vain.
        check_writable(serving_dir)
        summary = ingest(source, IngestConfig.from_mapping(config), reviews.path)
        save_champion_statistics(serving_dir, champion_statistics.path)
        if skip_unchanged:
            configs = recorded_config(config, preprocess_config, train_config, evaluate_config)
            champion = unchanged_champion(
                serving_dir, fingerprint=summary["fingerprint"], config=configs, image=image
            )
        version = champion.version if champion else None
        note(workspace, unchanged_since_version=version)
        reviews.metadata.update(metadata(summary, version))
        events.figure(headline(summary, version))
    return champion is None
