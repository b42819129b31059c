"""Loads a SavedModel with TensorFlow alone and queries it.

Run as a script, in an isolated interpreter: `python -I clean_process.py SAVED_MODEL QUERIES
ANSWERS`. QUERIES is a JSON list of batches, each a list of base64-encoded texts; ANSWERS becomes
`{"operations": [names], "probabilities": [batches]}`.
"""

import base64
import contextlib
import json
import sys
from pathlib import Path


def main(saved_model: str, queries: str, answers: str) -> None:
    """Queries the SavedModel; fails as any server would if it needs more than TensorFlow."""
    # Even where the project is installed, its code must not be needed.
    for package in ("components", "pipeline", "keras"):
        sys.modules[package] = None  # type: ignore[assignment]
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    # TensorFlow takes a path with brackets for a pattern.
    with contextlib.chdir(saved_model):
        serve = tf.saved_model.load(".").signatures["serving_default"]
    probabilities = []
    for batch in json.loads(Path(queries).read_text()):
        text = tf.constant([base64.b64decode(item) for item in batch], tf.string, [len(batch)])
        outputs = serve(text=text)
        probability, label = outputs["probability"].numpy(), outputs["label"].numpy()
        assert probability.dtype == "float32" and probability.shape == (len(batch),)
        assert label.dtype == "int64" and ((probability >= 0.5) == label).all()
        probabilities.append([float(value) for value in probability])
    result = {"operations": operations(Path(saved_model)), "probabilities": probabilities}
    Path(answers).write_text(json.dumps(result))


def operations(saved_model: Path) -> list[str]:
    """The names of all operations that the graphs of a SavedModel use."""
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    names: set[str] = set()
    for graph in (meta_graph.graph_def for meta_graph in message.meta_graphs):
        names.update(node.op for node in graph.node)
        names.update(node.op for function in graph.library.function for node in function.node_def)
    return sorted(names)


if __name__ == "__main__":
    main(*sys.argv[1:])
