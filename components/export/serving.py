"""The serving function: raw text in, probability and label out, with the vocabulary inside."""

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2

from components.shared.tokenizer import PAD_ID, TextEncoder

SIGNATURE = "serving_default"
_THRESHOLD = 0.5


class SentimentServer(tf.Module):
    """What the SavedModel holds.

    Args:
        model: a trained model; maps int32 token ids `[batch, time]`, padded with `<pad>`, to
            float32 logits `[batch]`.
        encoder: the encoder of its vocabulary.
        pad_left: whether to pad on the left to `encoder.max_length`, else on the right to the
            longest review of the batch.
    """

    def __init__(self, model: tf.keras.Model, encoder: TextEncoder, pad_left: bool) -> None:
        super().__init__(name="sentiment_server")
        self._call_model = model
        self._encoder = encoder
        self._pad_left = pad_left
        # Reviews of like length go through the model together, so that little of it is padding, and
        # a few at a time, so that several cores have work. Padded to one length, they gain nothing.
        self._rows = 256 if pad_left else 32

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies reviews.

        Args:
            text: string `[batch]`.

        Returns:
            `probability` float32 `[batch]` that a review is positive, and `label` int64 `[batch]`:
            1 where that is at least one half, else 0.
        """
        text = _require_vector(text)
        order = tf.argsort(tf.strings.length(text))
        parts = tf.maximum(1, (tf.size(text) + self._rows - 1) // self._rows)
        logits = tf.TensorArray(tf.float32, parts, element_shape=[None], infer_shape=False)
        for part in tf.range(parts):
            rows = order[part * self._rows : (part + 1) * self._rows]
            token_ids = tf.cast(self.encode(tf.gather(text, rows)), tf.int32)
            logits = logits.write(part, self._call_model(self._pad(token_ids), training=False))
        probability = tf.gather(tf.sigmoid(logits.concat()), tf.argsort(order))
        label = tf.cast(probability >= _THRESHOLD, tf.int64)
        return {"probability": probability, "label": label}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """The token ids of reviews, int64 `[batch, None]`: what a TFRecord of them holds."""
        return self._encoder(text)

    def _pad(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        if not self._pad_left:
            dense = token_ids.to_tensor(PAD_ID)
            # An empty batch has no token; the recurrence needs a step.
            return tf.pad(dense, [[0, 0], [0, tf.maximum(0, 1 - tf.shape(dense)[1])]])
        reverse = token_ids[:, ::-1].to_tensor(PAD_ID, shape=[None, self._encoder.max_length])
        return tf.reverse(reverse, [1])


def _require_vector(text: tf.Tensor) -> tf.Tensor:
    """Returns `text`, checked while the graph runs: a request may bring another shape.

    The graph would take the rank that its signature declares for known, and drop the check.
    """
    shape = tf.shape(tf.raw_ops.PlaceholderWithDefault(input=text, shape=tf.TensorShape(None)))
    message = "text must be a vector of strings, one for each review, and not of the shape"
    check = tf.debugging.Assert(tf.equal(tf.size(shape), 1), [message, shape])
    with tf.control_dependencies([check]):
        return tf.identity(text)


def save(server: SentimentServer, directory: Path) -> None:
    """Writes the SavedModel, the vocabulary among its assets."""
    tf.saved_model.save(server, str(directory), signatures={SIGNATURE: server.serve})
    # The fingerprint carries a random number, which would tell equal models apart.
    path = directory / "fingerprint.pb"
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    fingerprint.ClearField("uuid")
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))
