"""Learns region embeddings: from which words stand around a region, whatever the labels.

Two-view embeddings (Johnson and Zhang, 2015, https://arxiv.org/abs/1504.01255): the embedding of a
region is to predict the words on either side of it. Regions with like surroundings come to lie
close, and with them words that train's labels say little of. The model takes them as they are.

A softmax over the vocabulary stands for theirs of squared errors; its normalizer is estimated from
words drawn as often as they are to be predicted (Bengio and Senecal, 2008).
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.shared import events
from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import Examples
from components.shared.regions import REACH, embed_regions
from components.shared.tokenizer import PAD_ID, UNK_ID
from components.train.batches import bucket_lengths, epoch_plan, pad
from components.train.devices import shape_cost
from components.train.optimizer import Adam
from components.train.prefetch import prefetch
from components.train.row_sums import gather_rows
from components.train.shards import shards_of, target_of

_SURROUNDING = 20
"""Words to predict on either side."""
_DRAWN = 2048
"""Words that the normalizer is estimated from, another draw for each batch."""
_STRIDE = 4
"""Of so many regions, which overlap, one is normalized."""
_RARE = 1e-4
"""The share of the text above which a word counts for less, as in word2vec."""
_BATCH_SIZE = 64
_LEARNING_RATE = 2e-3
_REPORT_STEPS = 50


@dataclass(frozen=True, slots=True)
class Regions:
    """What was learned."""

    table: np.ndarray
    """float32 `[vocabulary_size, width]`."""
    bias: np.ndarray
    """float32 `[width]`."""


@dataclass(frozen=True, slots=True)
class _Words:
    """What each word of the vocabulary counts for, float32 `[vocabulary_size]` both."""

    weights: np.ndarray
    """By how much it counts where it stands; 0 for `<pad>` and `<unk>`."""
    shares: np.ndarray
    """The share of the words to predict, so weighted, that it is."""


def fit_regions(
    examples: Examples,
    vocabulary_size: int,
    max_length: int,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
) -> Regions:
    """Learns region embeddings of width `config.region_embedding_size`.

    Args:
        examples: those to learn from; their labels aren't read.
        vocabulary_size: rows of the vocabulary.
        max_length: the greatest number of tokens in an example.
        config: width, epochs and seed.
        strategy: shares out each batch over its replicas.

    Raises:
        InputError: there are fewer examples than a batch takes, or none with a known word.
    """
    words = _weigh(examples, vocabulary_size)
    with strategy.scope():
        learner = _Learner(words, config.region_embedding_size, config.seed, strategy)
    random = np.random.default_rng(config.seed)
    batches = list(_plan(examples, max_length, config, strategy))
    losses = []

    def make(planned: tuple[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
        length, rows = planned
        drawn = random.choice(vocabulary_size, _DRAWN, p=words.shares).astype(np.int32)
        token_ids = pad(examples, rows, length, pad_left=False).token_ids
        return token_ids, drawn, int(random.integers(_STRIDE))

    with closing(prefetch(make, batches)) as inputs:
        for step, arguments in enumerate(inputs):
            rate = _LEARNING_RATE * (1.0 - step / len(batches))
            losses.append(learner.train_batch(*arguments, rate))
            if (step + 1) % _REPORT_STEPS == 0 or step + 1 == len(batches):
                loss = np.mean([float(loss) for loss in losses[-_REPORT_STEPS:]])
                shown = f"step {step + 1}/{len(batches)}  loss {loss:.4f}"
                events.progress(f"region embeddings  {shown}")
    return Regions(learner.table.numpy(), learner.bias.numpy())


def _plan(
    examples: Examples, max_length: int, config: TrainConfig, strategy: tf.distribute.Strategy
) -> Iterator[tuple[int, np.ndarray]]:
    replicas = strategy.num_replicas_in_sync
    lengths, batch_size = examples.lengths, max(_BATCH_SIZE // replicas, 1) * replicas
    if len(lengths) < batch_size:
        raise InputError(
            f"region_embedding_size: a batch takes {batch_size:,} reviews, and there are "
            f"{len(lengths):,}; set it to 0, or bring more reviews"
        )
    total = config.region_epochs * len(lengths) // batch_size
    buckets = bucket_lengths(lengths, max_length, total, shape_cost(strategy))
    for epoch in range(1, config.region_epochs + 1):
        yield from epoch_plan(lengths, buckets, batch_size, config.seed, epoch)


def _weigh(examples: Examples, vocabulary_size: int) -> _Words:
    counts = np.bincount(examples.token_ids, minlength=vocabulary_size).astype(np.float64)
    shares = counts / counts.sum()
    # The subsampling of frequent words (Mikolov et al., 2013), as a weight.
    weights = np.minimum(1.0, np.sqrt(_RARE / np.maximum(shares, 1e-12)))
    weights[[PAD_ID, UNK_ID]] = 0.0
    drawn = weights * counts
    if not drawn.any():
        raise InputError("region_embedding_size: train has no known word; bring more reviews")
    return _Words(weights.astype(np.float32), drawn / drawn.sum())


class _Learner:
    """The embeddings, the softmax that predicts from them, and a step of training both."""

    def __init__(
        self, words: _Words, width: int, seed: int, strategy: tf.distribute.Strategy
    ) -> None:
        self._strategy = strategy
        shape = (len(words.weights), width)
        logarithms = np.log(np.maximum(words.shares, 1e-12)).astype(np.float32)
        self._weights = tf.constant(words.weights)
        self._log_shares = tf.constant(logarithms)
        self.table = _uniform(shape, seed, 0)
        self.bias = tf.Variable(tf.zeros([width]))
        self._output_table = _uniform(shape, seed, 1)
        self._output_bias = tf.Variable(logarithms)
        self._variables = [self.table, self.bias, self._output_table, self._output_bias]
        self._optimizer = Adam(self._variables, clip_norm=None)
        self._gather = gather_rows if target_of(strategy) == "gpu" else tf.gather
        self._gradients = tf.function(self._replica_gradients, jit_compile=True, autograph=False)

    def train_batch(
        self, token_ids: np.ndarray, drawn: np.ndarray, offset: int, learning_rate: float
    ) -> tf.Tensor:
        """Takes one step on token ids `[batch, time]`; the loss of a word, a float32 scalar."""
        parts = np.split(token_ids, self._strategy.num_replicas_in_sync)
        split = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )
        return self._train_step(
            split, tf.constant(drawn), tf.constant(offset), tf.constant(learning_rate)
        )

    @tf.function(autograph=False)
    def _train_step(
        self, token_ids: Any, drawn: tf.Tensor, offset: tf.Tensor, learning_rate: tf.Tensor
    ) -> tf.Tensor:
        arguments = (token_ids, drawn, offset, learning_rate)
        results = self._strategy.run(self._replica_step, arguments)
        loss, count = (
            self._strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in results
        )
        return tf.math.divide_no_nan(loss, count)

    def _replica_step(
        self, token_ids: tf.Tensor, drawn: tf.Tensor, offset: tf.Tensor, learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        places = replicas * token_ids.shape.num_elements()
        results = [
            self._gradients(tf.transpose(token_ids[shard]), drawn, offset, places)
            for shard in shards_of(token_ids.shape[0], self._strategy)
        ]
        loss, count, gradients = tf.nest.map_structure(lambda *part: tf.add_n(part), *results)
        self._optimizer.apply(gradients, learning_rate)
        return loss, count

    def _replica_gradients(
        self, token_ids: tf.Tensor, drawn: tf.Tensor, offset: tf.Tensor, places: int
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """The loss of token ids `[time, batch]`, how many words it is of, and its gradients."""
        mask = tf.not_equal(token_ids, PAD_ID)
        weights = tf.gather(self._weights, token_ids)
        counts = tf.where(mask, _around(weights), 0.0)
        values = [tf.convert_to_tensor(variable) for variable in self._variables]
        table, bias, output_table, output_bias = values
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            regions = embed_regions(self._gather(table, token_ids), mask, bias)
            targets = self._gather(output_table, token_ids) * weights[..., tf.newaxis]
            biases = self._gather_biases(output_bias, token_ids) * weights
            found = tf.reduce_sum(regions * _around(targets), axis=-1) + _around(biases)
            outputs = self._gather(output_table, drawn), self._gather_biases(output_bias, drawn)
            corrections = outputs[1] - tf.gather(self._log_shares, drawn)
            logarithms = _log_normalizers(_every(regions, offset), outputs[0], corrections)
            loss = _STRIDE * tf.reduce_sum(logarithms * _every(counts, offset))
            loss -= tf.reduce_sum(tf.where(mask, found, 0.0))
            # By places, as their number is the same on all replicas.
            mean = loss / places
        gradients = tape.gradient(mean, values)
        return loss, tf.reduce_sum(counts), [tf.convert_to_tensor(g) for g in gradients]

    def _gather_biases(self, biases: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        if self._gather is tf.gather:
            return tf.gather(biases, indices)
        return self._gather(biases[:, tf.newaxis], indices)[..., 0]


def _log_normalizers(regions: tf.Tensor, outputs: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
    """Estimates of the logarithm of the sum of exp(logit) over the vocabulary.

    Args:
        regions: float32 `[time, batch, width]`.
        outputs: of the words that were drawn, float32 `[drawn, width]`.
        biases: theirs, less the logarithms of the shares by which they were drawn.

    Returns:
        float32 `[time, batch]`.
    """
    flat = tf.reshape(regions, [-1, regions.shape[-1]])
    logits = tf.matmul(flat, outputs, transpose_b=True) + biases
    estimates = tf.reduce_logsumexp(logits, axis=-1) - np.log(outputs.shape[0]).astype(np.float32)
    return tf.reshape(estimates, regions.shape[:-1])


def _around(values: tf.Tensor) -> tf.Tensor:
    """The sums over the places on either side of each region, along the first axis."""
    time, edge = values.shape[0], REACH + _SURROUNDING
    zeros = [[0, 0]] * (values.shape.rank - 1)
    sums = tf.cumsum(tf.pad(values, [[edge + 1, edge], *zeros]))
    outer = sums[2 * edge + 1 :] - sums[:time]
    inner = sums[edge + REACH + 1 :][:time] - sums[_SURROUNDING:][:time]
    return outer - inner


def _every(values: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Every `_STRIDE`-th place along the first axis, from `offset` on, as in a circle."""
    return tf.roll(values, -offset, axis=0)[::_STRIDE]


def _uniform(shape: tuple[int, int], seed: int, salt: int) -> tf.Variable:
    return tf.Variable(tf.random.stateless_uniform(shape, [seed, salt], -0.05, 0.05))
