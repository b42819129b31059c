"""Drives TFX's own IMDB example as it is published; runs in the environment of `tfx_environment`.

    python tfx_imdb.py run --data DIR --work DIR [--until COMPONENT] [--mode MODE] [--workers N]
                           [--train-steps N] [--train-batch N] [--eval-steps N] [--eval-batch N]
    python tfx_imdb.py count --work DIR

`run` runs the example's pipeline with its own runner on the CSV files of DIR, as the example's
`imdb_fetch_data` makes them, and prints JSON on its last line: `seconds` by component, from the
records that TFX keeps. `count` says what a run made: the `reviews` that were read, the `records`
that Transform wrote, the words of its `vocabulary`, and the reviews that the `statistics` count.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MODULE = """from tfx.examples.imdb import imdb_utils_native_keras as example

example._TRAIN_BATCH_SIZE = {train_batch}
example._EVAL_BATCH_SIZE = {eval_batch}
preprocessing_fn = example.preprocessing_fn
run_fn = example.run_fn
"""
"""The example's own module, with other batch sizes: they are constants of it."""


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("run", "count"))
    parser.add_argument("--work", type=Path, required=True, help="the folder of the run's outputs")
    parser.add_argument("--data", type=Path, help="the folder of the CSV files")
    parser.add_argument("--until", help="this component and those that it needs; all, if none")
    parser.add_argument("--mode", default="in_memory", choices=("in_memory", "multi_processing"))
    parser.add_argument("--workers", type=int, default=1)
    # As the example has them.
    parser.add_argument("--train-steps", type=int, default=500)
    parser.add_argument("--train-batch", type=int, default=10)
    parser.add_argument("--eval-steps", type=int, default=200)
    parser.add_argument("--eval-batch", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(run(options) if options.command == "run" else count(options.work)))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the example's pipeline; the seconds of each component."""
    from tfx.examples.imdb import imdb_pipeline_native_keras as example
    from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
    from tfx.orchestration.pipeline import RunOptions

    work: Path = options.work.resolve()
    work.mkdir(parents=True)
    module = work / "module.py"
    module.write_text(MODULE.format(train_batch=options.train_batch, eval_batch=options.eval_batch))
    pipeline = example._create_pipeline(
        pipeline_name="imdb",
        pipeline_root=str(work / "root"),
        data_root=str(options.data.resolve()),
        module_file=str(module),
        serving_model_dir=str(work / "serving"),
        metadata_path=str(work / "metadata.db"),
        beam_pipeline_args=[
            f"--direct_running_mode={options.mode}",
            f"--direct_num_workers={options.workers}",
        ],
    )
    by_name = {component.id: component for component in pipeline.components}
    trainer = by_name["Trainer"].exec_properties
    trainer["train_args"] = json.dumps({"num_steps": options.train_steps})
    trainer["eval_args"] = json.dumps({"num_steps": options.eval_steps})
    part = RunOptions(to_nodes=[options.until]) if options.until else None
    BeamDagRunner().run(pipeline, part)
    return {"seconds": _seconds(work)}


def count(work: Path) -> dict[str, Any]:
    """What a run made."""
    import tensorflow as tf
    import tensorflow_data_validation as tfdv

    root = work / "root"

    def records(pattern: str) -> int:
        files = [str(file) for file in root.glob(pattern)]
        return sum(1 for _ in tf.data.TFRecordDataset(files, compression_type="GZIP"))

    statistics = [
        tfdv.load_stats_binary(str(file)).datasets[0].num_examples
        for file in root.glob("StatisticsGen/statistics/*/*/FeatureStats.pb")
    ]
    (vocabulary,) = root.glob("Transform/transform_graph/*/transform_fn/assets/*")
    return {
        "reviews": records("CsvExampleGen/examples/*/*/*.gz"),
        "records": records("Transform/transformed_examples/*/*/*.gz"),
        "vocabulary": len(vocabulary.read_bytes().splitlines()),
        "statistics": int(sum(statistics)),
    }


def _seconds(work: Path) -> dict[str, float]:
    """How long each component took, from start to end, by what ML Metadata has recorded."""
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2
    from tfx.orchestration import metadata

    config: metadata_store_pb2.ConnectionConfig = metadata.sqlite_metadata_connection_config(
        str(work / "metadata.db")
    )
    store = MetadataStore(config)
    types = {type_.id: type_.name for type_ in store.get_execution_types()}
    return {
        types[it.type_id].rpartition(".")[2]: round(
            (it.last_update_time_since_epoch - it.create_time_since_epoch) / 1000, 2
        )
        for it in store.get_executions()
    }


if __name__ == "__main__":
    main()
