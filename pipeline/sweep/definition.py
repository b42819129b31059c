"""The pipeline of a sweep: the reviews once, a loop over its trials, and their comparison."""

from functools import partial
from typing import Any

from kfp import dsl

from components.compare.component import compare
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.shared.image import DEFAULT_IMAGE
from components.train.component import trial
from pipeline.cluster.request import SWEEP_PIPELINE
from pipeline.config import preset as named_preset
from pipeline.definition import make_task, prepare_volume
from pipeline.kubernetes import KubernetesOptions
from pipeline.pods import workspace_config

_DEFAULT = named_preset("default").to_mapping()
_WORKSPACE = dsl.constants.WORKSPACE_MOUNT_PATH


def sweep_pipeline(
    parallelism: int, image: str = DEFAULT_IMAGE, kubernetes: KubernetesOptions | None = None
) -> Any:
    """The pipeline as a KFP component.

    Args:
        parallelism: how many trials are trained at the same time.
        image: the image of every task.
        kubernetes: what the tasks need of a cluster; None for a run on this machine.
    """
    make = partial(make_task, image, kubernetes)

    @dsl.pipeline(
        name=SWEEP_PIPELINE,
        display_name="IMDB sentiment sweep",
        description="Trains many configurations of one model on the same reviews, and compares "
        "them by their accuracy on validation; the test split is never read.",
        pipeline_config=workspace_config(kubernetes or KubernetesOptions(), parallelism > 1),
    )
    def imdb_sentiment_sweep(
        trials: list[dict],
        source: str = "tfds",
        serving_dir: str = f"{_WORKSPACE}/serving",
        image: str = image,
        workspace: str = _WORKSPACE,
        ingest_config: dict = _DEFAULT["ingest"],
        preprocess_config: dict = _DEFAULT["preprocess"],
    ) -> None:
        """Wires the tasks.

        Args:
            trials: Of each its number, the names of the searched keys, and a TrainConfig as JSON.
            source: "bundled", "tfds", or the path or URI of reviews in aclImdb's layout.
            serving_dir: A registry without a champion.
            image: The image of the tasks, for the record.
            workspace: The folder that the tasks of one run share, whatever is retried.
            ingest_config: An IngestConfig as JSON.
            preprocess_config: A PreprocessConfig as JSON.
        """
        ingested = make(
            ingest, source=source, config=ingest_config, preprocess_config=preprocess_config,
            train_config={}, evaluate_config={}, image=image, serving_dir=serving_dir,
            skip_unchanged=False, workspace=workspace,
        )  # fmt: skip
        prepare_volume(make, kubernetes, workspace, before=ingested)
        inputs = {name: ingested.outputs[name] for name in ("reviews", "champion_statistics")}
        preprocessed = make(preprocess, config=preprocess_config, workspace=workspace, **inputs)
        inputs = {name: preprocessed.outputs[name] for name in ("examples", "vocabulary")}
        with dsl.ParallelFor(items=trials, name="trials", parallelism=parallelism) as asked:
            tried = make(trial, asked=asked, workspace=workspace, **inputs)
        make(compare, trials=trials, results=dsl.Collected(tried.outputs["Output"]))

    return imdb_sentiment_sweep
