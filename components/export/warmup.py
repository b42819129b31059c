"""Warm-up requests, which TensorFlow Serving replays before it serves a version.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from components.export.serving import SIGNATURE

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_WORDS = "this film was better than i had hoped and i would gladly see it once more "
_BATCHES = [[_WORDS], [_WORDS * 30], [_WORDS * n for n in range(1, 33)]]


def write_warmup_requests(saved_model: Path) -> None:
    """Writes requests of one short, one long and 32 mixed texts beside the SavedModel's graph."""
    path = saved_model / WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in _BATCHES:
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(signature_name=SIGNATURE),
                inputs={"text": tf.make_tensor_proto(batch, tf.string)},
            )
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString(deterministic=True))
