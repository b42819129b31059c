"""The KFP component of evaluate."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def evaluate(
    saved_model: Input[Model],
    reviews: Input[Dataset],
    model_run: Input[Artifact],
    serving_dir: str,
    source: str,
    preset: str,
    ingest_config: dict,
    preprocess_config: dict,
    train_config: dict,
    config: dict,
    workspace: str,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[HTML],
) -> bool:
    """Judge the candidate on the raw reviews of the test split, against the champion.

    Args:
        saved_model: The candidate.
        reviews: The prepared TFDS data set.
        model_run: The history of training, for the record.
        serving_dir: The registry that holds the champion.
        source: Where the reviews are from; this and the next four are for the record.
        preset: The name of the configuration.
        ingest_config: That of ingest.
        preprocess_config: That of preprocess.
        train_config: That of train.
        config: An EvaluateConfig as JSON: the gate's thresholds.
        workspace: The folder that the tasks of the run share.
        evaluation: evaluation.json with every figure and the decision, and report.html.
        metrics: Accuracy, loss, AUC and more.
        classification: ROC curve and confusion matrix.
        report: What a person reads.

    Returns:
        Whether the gate lets the candidate be pushed.
    """
    from components.evaluate.evaluate import evaluate
    from components.evaluate.outputs import log_outputs, publish
    from components.shared import events
    from components.shared.config import EvaluateConfig
    from components.shared.recorded import recorded_config, trained_on
    from components.shared.running import running

    with running(workspace, "evaluate"):
        record = {"source": source, "preset": preset}
        configs = recorded_config(ingest_config, preprocess_config, train_config, config)
        result = evaluate(
            saved_model.path,
            reviews.path,
            serving_dir,
            EvaluateConfig.from_mapping(config),
            {**record, "config": configs, "devices": trained_on(model_run.path)},
            evaluation.path,
        )
        publish(result, workspace, evaluation.path, report.path)
        events.figure(log_outputs(result, metrics, classification))
    return result["decision"]["blessed"]
