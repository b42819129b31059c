"""The pipeline: its tasks, how they are wired, and the gate."""

from collections.abc import Callable
from functools import partial
from typing import Any

from kfp import dsl

from components.evaluate.component import evaluate
from components.export.component import export
from components.ingest.component import ingest
from components.notify.component import notify
from components.prepare.component import prepare
from components.preprocess.component import preprocess
from components.push.component import push
from components.shared.image import DEFAULT_IMAGE
from components.train.component import train, trial
from pipeline.config import preset as named_preset
from pipeline.kubernetes import KubernetesOptions
from pipeline.pods import configure, workspace_config

_DEFAULT = named_preset("default").to_mapping()
# All others depend on more than their inputs: on what the source holds now, on the champion.
_FUNCTIONS_OF_THEIR_INPUTS = (preprocess, train, trial, export)

# KFP fills these in where a task is given them, but not where they are a parameter's default.
_RUN = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "run_name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}
# KFP leaves the name of a scheduled run empty; its workflow, which a local run lacks, has one.
_WORKFLOW_NAME = dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER

Make = Callable[..., dsl.PipelineTask]


def sentiment_pipeline(
    image: str = DEFAULT_IMAGE, kubernetes: KubernetesOptions | None = None
) -> Any:
    """The pipeline as a KFP component.

    Args:
        image: The image of every task.
        kubernetes: What the tasks need of a cluster; None for a run on this machine.
    """
    make = partial(make_task, image, kubernetes)
    run = {**_RUN, "workflow_name": _WORKFLOW_NAME if kubernetes else ""}

    @_pipeline(kubernetes or KubernetesOptions())
    def imdb_sentiment(
        source: str = "tfds",
        preset: str = "default",
        serving_dir: str = "serving",
        skip_unchanged: bool = False,
        ui_url: str = "",
        image: str = image,
        workspace: str = dsl.constants.WORKSPACE_MOUNT_PATH,
        ingest_config: dict = _DEFAULT["ingest"],
        preprocess_config: dict = _DEFAULT["preprocess"],
        train_config: dict = _DEFAULT["train"],
        evaluate_config: dict = _DEFAULT["evaluate"],
    ) -> None:
        """Wires the tasks; every parameter can be set for each run.

        Args:
            source: "bundled", "tfds", or the path or URI of reviews in aclImdb's layout.
            preset: The name of the configuration, for the record.
            serving_dir: The registry: where the champion is and a blessed model goes.
            skip_unchanged: Ends after ingest if the champion was made of the same.
            ui_url: Where KFP's user interface is, for the link in a notification.
            image: The image of the tasks, for the record.
            workspace: The folder that the tasks of one run share, whatever is retried.
            ingest_config: An IngestConfig as JSON.
            preprocess_config: A PreprocessConfig as JSON.
            train_config: A TrainConfig as JSON.
            evaluate_config: An EvaluateConfig as JSON.
        """
        registry = {"serving_dir": serving_dir, "workspace": workspace, "image": image}
        configs = {"preprocess_config": preprocess_config, "train_config": train_config}
        record = {"source": source, "preset": preset, "ingest_config": ingest_config}
        with dsl.ExitHandler(make(notify, ui_url=ui_url, workspace=workspace, **run), name="run"):
            ingested = make(
                ingest, source=source, config=ingest_config, evaluate_config=evaluate_config,
                skip_unchanged=skip_unchanged, **configs, **registry,
            )  # fmt: skip
            prepare_volume(make, kubernetes, workspace, before=ingested)
            with dsl.If(_is_true(ingested), name="changed"):
                candidate = _candidate(make, ingested, workspace, **configs)
                record |= {"config": evaluate_config, **configs}
                _judge_and_push(make, ingested, candidate, record, **registry)

    return imdb_sentiment


def _pipeline(kubernetes: KubernetesOptions) -> Callable[..., Any]:
    """What the pipeline is called, and its volume."""
    decorator: Callable[..., Any] = dsl.pipeline(
        name="imdb-sentiment",
        display_name="IMDB sentiment",
        description="Raw movie reviews to a served sentiment model: ingest, preprocess with Beam, "
        "train under MirroredStrategy, export, evaluate against the champion, push behind the "
        "gate; notify tells how it ended.",
        pipeline_config=workspace_config(kubernetes),
    )
    return decorator


def _candidate(
    make: Make, ingested: Any, workspace: Any, *, preprocess_config: Any, train_config: Any
) -> dict[str, Any]:
    """The SavedModel that is made of the reviews, their statistics, and its training's history."""
    inputs = {name: ingested.outputs[name] for name in ("reviews", "champion_statistics")}
    preprocessed = make(preprocess, config=preprocess_config, workspace=workspace, **inputs)
    vocabulary = preprocessed.outputs["vocabulary"]
    trained = make(
        train,
        examples=preprocessed.outputs["examples"],
        vocabulary=vocabulary,
        config=train_config,
        workspace=workspace,
    )
    model = trained.outputs["model"]
    exported = make(export, model=model, vocabulary=vocabulary, workspace=workspace)
    return {
        "saved_model": exported.outputs["saved_model"],
        "statistics": preprocessed.outputs["statistics"],
        "model_run": trained.outputs["model_run"],
    }


def _judge_and_push(
    make: Make,
    ingested: Any,
    candidate: dict[str, Any],
    record: dict[str, Any],
    *,
    serving_dir: Any,
    workspace: Any,
    image: Any,
) -> None:
    """Evaluates the candidate, and promotes it behind the gate."""
    registry = {"serving_dir": serving_dir, "workspace": workspace}
    pushed = {name: candidate[name] for name in ("saved_model", "statistics")}
    evaluated = make(
        evaluate,
        saved_model=candidate["saved_model"],
        reviews=ingested.outputs["reviews"],
        model_run=candidate["model_run"],
        **record,
        **registry,
    )
    with dsl.If(_is_true(evaluated), name="gate"):
        evaluation = evaluated.outputs["evaluation"]
        run_id = _RUN["run_id"]
        make(push, evaluation=evaluation, run_id=run_id, image=image, **pushed, **registry)


def prepare_volume(
    make: Make, kubernetes: KubernetesOptions | None, workspace: Any, *, before: dsl.PipelineTask
) -> None:
    """Has a cluster make the run's volume writable before its first task."""
    if kubernetes is not None and kubernetes.prepares_workspace:
        before.after(make(prepare, workspace=workspace))


def _is_true(task: dsl.PipelineTask) -> Any:
    # KFP's local runner finds no output of another name here, and takes that for False.
    return task.outputs["Output"] == True  # noqa: E712


def make_task(
    image: str, kubernetes: KubernetesOptions | None, component: Any, /, **inputs: Any
) -> dsl.PipelineTask:
    """A task, as it runs.

    Args:
        image: its image.
        kubernetes: what it needs of a cluster; None for a run on this machine.
        component: the KFP component.
        inputs: the component's.
    """
    task = component(**inputs)
    task.set_container_image(image)
    task.set_caching_options(component in _FUNCTIONS_OF_THEIR_INPUTS)
    if kubernetes:
        configure(task, kubernetes)
    return task
