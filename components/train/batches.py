"""The order in which training sees its examples: a pure function of seed and epoch.

Examples of like length share a batch, padded to the length of their bucket, so that there are few
shapes (each is compiled once) and little padding. As the plan of an epoch follows from its number
alone, an interrupted epoch can go on at any step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import Examples
from components.shared.tokenizer import PAD_ID

BUCKETS = 4
_ROUND_TO = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples, padded to one length; token ids and labels are arrays, or on the replicas."""

    token_ids: Any
    """int32 `[batch, time]`."""
    labels: Any
    """float32 `[batch]`."""
    weights: np.ndarray
    """float32 `[batch]`: 0 for a row that only fills the batch, else 1."""


def bucket_lengths(
    lengths: np.ndarray, max_length: int, batches: int = 0, shape_cost: int = 0
) -> list[int]:
    """The lengths to which batches are padded: quantiles of `lengths`, the last the greatest.

    There are `BUCKETS` of them, or fewer where a shape costs more than the padding that it saves.

    Args:
        lengths: int `[rows]`, tokens in each example.
        max_length: what no length is above.
        batches: batches of the whole training; counts where `shape_cost` isn't 0.
        shape_cost: how many time steps of a batch take as long as it takes to compile a shape.
    """
    choices = [_quantiles(lengths, max_length, count) for count in range(1, BUCKETS + 1)]
    if not shape_cost:
        return choices[-1]

    def cost(buckets: list[int]) -> float:
        padded = np.array(buckets)[np.searchsorted(buckets, lengths)]
        return shape_cost * len(buckets) + batches * float(padded.mean())

    return min(choices, key=cost)


def _quantiles(lengths: np.ndarray, max_length: int, count: int) -> list[int]:
    quantiles = np.quantile(lengths, np.arange(1, count + 1) / count, method="higher")
    rounded = np.ceil(quantiles / _ROUND_TO).astype(int) * _ROUND_TO
    return sorted({min(int(length), max_length) for length in rounded})


def global_batch_size(config: TrainConfig, replicas: int) -> int:
    """The examples in a batch over all replicas, a multiple of them.

    Raises:
        InputError: a batch has fewer examples than there are replicas.
    """
    if config.per_replica_batch_size is not None:
        return config.per_replica_batch_size * replicas
    if config.batch_size < replicas:
        raise InputError(
            f"batch_size={config.batch_size}: fewer reviews than the {replicas} replicas that "
            "share a batch; set it higher, or bring fewer accelerators"
        )
    return config.batch_size // replicas * replicas


def epoch_plan(
    lengths: np.ndarray, buckets: list[int], batch_size: int, seed: int, epoch: int
) -> list[tuple[int, np.ndarray]]:
    """The batches of an epoch, each the length of its bucket and the rows in it.

    Every batch is full. What does not fill a batch of its own bucket goes into the next longer
    one's; fewer than `batch_size` rows are left out in the end, others in each epoch.

    Raises:
        InputError: there are fewer rows than one batch takes.
    """
    if len(lengths) < batch_size:
        raise InputError(
            f"batch_size: a batch takes {batch_size:,} examples over all replicas, and train has "
            f"{len(lengths):,}; set it lower (or per_replica_batch_size), or bring more reviews"
        )
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    bucket_of = np.searchsorted(buckets, lengths[order])
    plan: list[tuple[int, np.ndarray]] = []
    left = np.zeros(0, order.dtype)
    for bucket, length in enumerate(buckets):
        rows = np.concatenate([left, order[bucket_of == bucket]])
        full = len(rows) // batch_size * batch_size
        plan += [(length, batch) for batch in rows[:full].reshape(-1, batch_size)]
        left = rows[full:]
    return [plan[i] for i in random.permutation(len(plan))]


def evaluation_plan(
    lengths: np.ndarray, buckets: list[int], batch_size: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Batches with every row once: the length of a bucket, and at most `batch_size` rows of it.

    Args:
        lengths: int `[rows]`, tokens in each example; none above the last bucket.
        buckets: the lengths to which batches are padded, ascending.
        batch_size: the most rows of a batch.
    """
    bucket_of = np.searchsorted(buckets, lengths)
    for bucket, length in enumerate(buckets):
        rows = np.flatnonzero(bucket_of == bucket)
        for start in range(0, len(rows), batch_size):
            yield length, rows[start : start + batch_size]


def evaluation_batches(
    examples: Examples, buckets: list[int], batch_size: int, pad_left: bool
) -> Iterator[Batch]:
    """Every example once, in full batches; rows of weight 0 fill up the last of each bucket."""
    for length, rows in evaluation_plan(examples.lengths, buckets, batch_size):
        batch = pad(examples, np.resize(rows, batch_size), length, pad_left)
        weights = np.arange(batch_size) < len(rows)
        yield Batch(batch.token_ids, batch.labels, weights.astype(np.float32))


def pad(examples: Examples, rows: np.ndarray, length: int, pad_left: bool) -> Batch:
    """The given rows, padded to `length` tokens with `<pad>`."""
    starts = examples.offsets[rows][:, None]
    lengths = examples.lengths[rows][:, None]
    places = np.arange(length)[None, :] - (length - lengths if pad_left else 0)
    valid = (places >= 0) & (places < lengths)
    token_ids = examples.token_ids[np.where(valid, starts + places, 0)]
    return Batch(
        np.where(valid, token_ids, PAD_ID).astype(np.int32),
        examples.labels[rows].astype(np.float32),
        np.ones(len(rows), np.float32),
    )
