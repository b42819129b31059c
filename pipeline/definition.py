"""The pipeline: its tasks, how they are wired, and the gate."""

from kfp import dsl

from components.evaluate.component import evaluate
from components.export.component import export
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.push.component import push
from components.train.component import train
from pipeline.config import preset as named_preset

_DEFAULT = named_preset("default").to_mapping()


@dsl.pipeline(
    name="imdb-sentiment",
    display_name="IMDB sentiment",
    description="Raw movie reviews to a served sentiment model: ingest, preprocess with Beam, "
    "train under MirroredStrategy, export, evaluate against the champion, push behind the gate.",
)
def imdb_sentiment(
    source: str = "tfds",
    preset: str = "default",
    serving_dir: str = "serving",
    run_id: str = dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    checkpoint_dir: str = "",
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
        run_id: Names the run in the registry.
        checkpoint_dir: Where training keeps its checkpoints; empty for none.
        ingest_config: An IngestConfig as JSON.
        preprocess_config: A PreprocessConfig as JSON.
        train_config: A TrainConfig as JSON.
        evaluate_config: An EvaluateConfig as JSON.
    """
    ingested = ingest(source=source, config=ingest_config)
    reviews = ingested.outputs["reviews"]
    preprocessed = preprocess(reviews=reviews, config=preprocess_config)
    vocabulary = preprocessed.outputs["vocabulary"]
    trained = train(
        examples=preprocessed.outputs["examples"],
        vocabulary=vocabulary,
        config=train_config,
        checkpoint_dir=checkpoint_dir,
    )
    exported = export(model=trained.outputs["model"], vocabulary=vocabulary)
    saved_model = exported.outputs["saved_model"]
    evaluated = evaluate(
        saved_model=saved_model,
        reviews=reviews,
        serving_dir=serving_dir,
        source=source,
        preset=preset,
        ingest_config=ingest_config,
        preprocess_config=preprocess_config,
        train_config=train_config,
        config=evaluate_config,
    )
    # What such a task gives depends on more than its inputs: on what the source holds now, on the
    # champion of the day.
    for task in (ingested, evaluated):
        task.set_caching_options(False)
    # An output of another name than "Output" is not one that KFP's local runner can find here.
    with dsl.If(evaluated.outputs["Output"] == True, name="gate"):  # noqa: E712
        push(
            saved_model=saved_model,
            evaluation=evaluated.outputs["evaluation"],
            serving_dir=serving_dir,
            run_id=run_id,
        ).set_caching_options(False)
