"""Self-training: what a model says of unlabelled reviews becomes what the next one learns.

The next one, the same from its first weights on, learns the probabilities and not the likelier
labels: they say how sure its teacher is (Hinton et al., 2015, https://arxiv.org/abs/1503.02531).
"""

import numpy as np
from scipy.special import expit

from components.shared import events
from components.shared.config import TrainConfig
from components.shared.features import Examples, Features
from components.train.batches import bucket_lengths, evaluation_plan, pad
from components.train.trainer import Trainer

_BATCH_SIZE = 256


def soft_labels(
    teacher: Trainer, examples: Examples, features: Features, config: TrainConfig
) -> dict[str, np.ndarray]:
    """The probabilities of the label 1, as the teacher has them.

    Args:
        teacher: has the model that has been fitted.
        examples: those to label; what labels they have isn't read.
        features: what they were encoded with.
        config: the teacher's configuration.

    Returns:
        `labels`, float32 `[rows]`.
    """
    events.progress(f"labelling {len(examples):,} reviews")
    lengths, left = examples.lengths, config.padding == "left"
    buckets = [features.max_length] if left else bucket_lengths(lengths, features.max_length)
    labels = np.zeros(len(examples), np.float32)
    for length, rows in evaluation_plan(lengths, buckets, _BATCH_SIZE):
        full = np.resize(rows, _BATCH_SIZE)
        logits = teacher.predict(pad(examples, full, length, left).token_ids)
        labels[rows] = expit(logits[: len(rows)])
    return {"labels": labels}
