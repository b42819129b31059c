"""The KFP component of ingest."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def ingest(source: str, config: dict, reviews: Output[Dataset]) -> NamedTuple(
    "Outputs", [("fingerprint", str)]
):
    """Bring the raw reviews in, check them, and name what was seen.

    Args:
        source: "bundled", "tfds", or the path or URI of reviews in aclImdb's layout.
        config: An IngestConfig as JSON.
        reviews: The prepared TFDS data set.

    Returns:
        fingerprint: SHA-256 of the reviews' content.
    """
    from typing import NamedTuple

    from components.ingest.ingest import ingest
    from components.shared import events
    from components.shared.config import IngestConfig
    from components.shared.errors import task_boundary

    with task_boundary():
        summary = ingest(source, IngestConfig.from_mapping(config), reviews.path)
        reviews.metadata.update(fingerprint=summary["fingerprint"], **summary["splits"])
        reviews_in_all = sum(summary["splits"].values())
        events.figure(f"{reviews_in_all:,} reviews, fingerprint {summary['fingerprint'][:8]}")
    outputs = NamedTuple("Outputs", [("fingerprint", str)])
    return outputs(fingerprint=summary["fingerprint"])
