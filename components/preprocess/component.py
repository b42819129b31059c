"""The KFP component of preprocess."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def preprocess(
    reviews: Input[Dataset],
    champion_statistics: Input[Artifact],
    config: dict,
    workspace: str,
    examples: Output[Dataset],
    vocabulary: Output[Artifact],
    statistics: Output[Artifact],
) -> None:
    """Tokenize, count, encode and write the reviews with Apache Beam.

    Args:
        reviews: The prepared TFDS data set.
        champion_statistics: What the reviews are held against.
        config: A PreprocessConfig as JSON.
        workspace: The folder that the tasks of the run share.
        examples: TFRecords of token ids by split.
        vocabulary: vocabulary.txt, cut from the train split.
        statistics: statistics.json, by split.
    """
    from components.preprocess.preprocess import preprocess
    from components.shared import data_checks, events
    from components.shared.config import PreprocessConfig
    from components.shared.running import running

    with running(workspace, "preprocess"):
        summary = preprocess(
            reviews.path,
            PreprocessConfig.from_mapping(config),
            examples.path,
            vocabulary.path,
            statistics.path,
            champion_statistics.path,
        )
        statistics.metadata.update(data_checks.metadata(summary["checks"]))
        for split, part in summary["splits"].items():
            examples.metadata[split] = part["rows"]
            statistics.metadata[f"{split}_out_of_vocabulary"] = part["out_of_vocabulary_rate"]
        vocabulary.metadata["size"] = summary["vocabulary_size"]
        events.figure(f"vocabulary of {summary['vocabulary_size']:,} tokens")
