"""One step of training and the measuring of a split, under a distribution strategy."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from components.shared.config import TrainConfig
from components.shared.model import SentimentRNN
from components.shared.noise import Noise
from components.shared.tokenizer import PAD_ID, UNK_ID
from components.train.batches import Batch
from components.train.distinct import Distinct
from components.train.linear import mixture
from components.train.optimizer import Adam
from components.train.shards import shards_of

_WORD_DROPOUT_SALT = 2


class Trainer:
    """Trains a model over all replicas of a strategy.

    A global batch is cut into equal parts, one a replica. Dropout's numbers belong to the rows of
    the global batch, and losses are sums over it: the number of replicas changes nothing but the
    order of float32 additions.

    Args:
        model: made under the strategy's scope.
        config: the training configuration.
        strategy: the strategy.
        compiled: whether XLA compiles the forward and backward passes.
    """

    def __init__(
        self,
        model: SentimentRNN,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        compiled: bool = True,
    ) -> None:
        self.model = model
        self._config = config
        self._strategy = strategy
        self._tables = {name: table.value for name, table in model.tables.items()}
        self._lookups = {name: table.value for name, table in model.all_tables.items()}
        tables = {id(table) for table in self._tables.values()}
        variables = [v.value for v in model.trainable_variables]
        self._dense = [v for v in variables if id(v) not in tables]
        with strategy.scope():
            self.optimizer = Adam(self.weights, config.clip_norm)
        # Without dropout between them, and with nothing else that reads the embeddings, each
        # distinct token of a batch is projected once, however often it occurs.
        self._projects = not (
            model.config["dropout_rate"]
            or model.config["skip_connection"]
            or model.config["bigram_vocabulary_size"]
            or model.region
        )
        self._gradients = tf.function(
            self._replica_gradients, jit_compile=compiled, autograph=False
        )
        self._logits = tf.function(model.logits, jit_compile=compiled, autograph=False)

    @property
    def replicas(self) -> int:
        """How many replicas share a batch."""
        return self._strategy.num_replicas_in_sync

    @property
    def weights(self) -> list[tf.Variable]:
        """What is trained."""
        return [*self._tables.values(), *self._dense]

    @property
    def kept(self) -> list[tf.Variable]:
        """What of the best epoch is kept."""
        return self.weights + ([self.model.mixture.value] if self.model.linear else [])

    @property
    def state(self) -> list[tf.Variable]:
        """All that a step changes."""
        return [*self.weights, *self.optimizer.state]

    def train_batch(self, batch: Batch, learning_rate: float) -> tf.Tensor:
        """Takes one step; returns the mean loss and the accuracy of the batch, float32 `[2]`."""
        return self._train_step(
            self._split(batch.token_ids),
            self._split(batch.labels),
            tf.constant(learning_rate, tf.float32),
        )

    def place(self, batch: Batch) -> Batch:
        """A batch whose parts are on the replicas' devices, for `train_batch`."""
        token_ids, labels = self._split(batch.token_ids), self._split(batch.labels)
        return replace(batch, token_ids=token_ids, labels=labels)

    def fit_mixture(self, batches: Iterable[Batch]) -> None:
        """Fits the weights of the RNN and of the linear classifier, if there is one."""
        if self.model.linear is None:
            return
        parts = [
            np.stack([self._infer(ids).numpy(), self.model.linear(ids).numpy(), labels, weights])
            for ids, labels, weights in ((b.token_ids, b.labels, b.weights) for b in batches)
        ]
        self.model.mixture.assign(mixture(*np.concatenate(parts, axis=1)))

    def predict(self, token_ids: np.ndarray) -> np.ndarray:
        """Float32 logits `[batch]` of int32 token ids `[batch, time]`, on one device."""
        return self._mixed(token_ids).numpy()

    def evaluate(self, batches: Iterable[Batch]) -> tuple[float, float]:
        """The mean loss and the accuracy over all rows of weight 1, on one device."""
        totals = np.zeros(3)
        for batch in batches:
            logits = self.predict(batch.token_ids)
            losses = np.logaddexp(0.0, np.where(batch.labels == 1, -logits, logits))
            right = (logits >= 0) == (batch.labels == 1)
            totals += [batch.weights @ losses, batch.weights @ right, batch.weights.sum()]
        return float(totals[0] / totals[2]), float(totals[1] / totals[2])

    def _split(self, values: Any) -> Any:
        """The part of each replica, on its device; of an array, or of what has been split."""
        if not isinstance(values, np.ndarray):
            return values
        parts = np.split(values, self.replicas)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    @tf.function(autograph=False)
    def _train_step(self, token_ids: Any, labels: Any, learning_rate: tf.Tensor) -> tf.Tensor:
        results = self._strategy.run(self._replica_step, (token_ids, labels, learning_rate))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, results, axis=None)

    def _replica_step(
        self, token_ids: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor
    ) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        rows = token_ids.shape[0]
        noise = Noise(
            seed=tf.stack([self._config.seed, tf.cast(self.optimizer.step, tf.int32)]),
            first_row=tf.convert_to_tensor(context.replica_id_in_sync_group * rows, tf.int32),
            rows=rows,
            global_rows=rows * context.num_replicas_in_sync,
        )
        mask = tf.not_equal(token_ids, PAD_ID)
        if self._config.word_dropout_rate > 0:
            drawn = noise.uniform(_WORD_DROPOUT_SALT, token_ids.shape[1])
            dropped = mask & (drawn < self._config.word_dropout_rate)
            token_ids = tf.where(dropped, UNK_ID, token_ids)
        tables = {
            name: Distinct.of(self._lookups[name], index)
            for name, index in self.model.indices(token_ids).items()
        }
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            values = {name: distinct.rows for name, distinct in tables.items()}
            tape.watch((values, self._dense))
            read = self.model.project(values["token"]) if self._projects else values
        distinct_of = dict.fromkeys(read, tables["token"]) if self._projects else tables
        padded = {name: distinct_of[name].pad(rows) for name, rows in read.items()}
        places = {name: distinct.places for name, distinct in distinct_of.items()}
        result, d_padded, d_dense = self._sharded_gradients(
            padded, places, tf.transpose(mask), labels, noise
        )
        d_read = {name: distinct_of[name].unpad(d) for name, d in d_padded.items()}
        if self._projects:
            # One path leads through the projection, another past it.
            d_values, more = tape.gradient(
                read,
                (values, self._dense),
                output_gradients=d_read,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            d_dense = [a + b for a, b in zip(d_dense, more, strict=True)]
        else:
            d_values = d_read
        d_tables = [
            self._table_gradient(name, tables[name], d_values[name]) for name in self._tables
        ]
        self.optimizer.apply([*d_tables, *d_dense], learning_rate)
        return result

    def _sharded_gradients(
        self,
        padded: dict[str, tf.Tensor],
        places: dict[str, tf.Tensor],
        mask: tf.Tensor,
        labels: tf.Tensor,
        noise: Noise,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        """The sums of `_replica_gradients` over the shards of the rows."""
        results = [
            self._gradients(
                padded,
                {name: place[:, shard] for name, place in places.items()},
                mask[:, shard],
                labels[shard],
                noise.seed,
                noise.first_row + shard.start,
                noise.global_rows,
            )
            for shard in shards_of(noise.rows, self._strategy)
        ]
        return tf.nest.map_structure(lambda *parts: tf.add_n(parts), *results)

    def _replica_gradients(
        self,
        padded: dict[str, tf.Tensor],
        places: dict[str, tf.Tensor],
        mask: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor,
        first_row: tf.Tensor,
        global_rows: int,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        """Loss and accuracy, and the gradients of what is read and of the dense variables."""
        noise = Noise(seed, first_row, labels.shape[0], global_rows)
        untrained = self._lookups.keys() - self._tables.keys()
        trained = {name: rows for name, rows in padded.items() if name not in untrained}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            tape.watch(self._dense)
            rows = {name: tf.gather(padded[name], places[name]) for name in padded}
            if self._projects:
                logits = self.model.read(rows, None, mask, noise)
            else:
                logits = self.model.logits(rows, mask, noise)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_sum(losses) / global_rows
        d_padded, d_dense = tape.gradient(
            loss, (trained, self._dense), unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        right = tf.equal(logits >= 0.0, labels > 0.5)
        accuracy = tf.reduce_sum(tf.cast(right, tf.float32)) / global_rows
        sums = {name: tf.convert_to_tensor(d) for name, d in d_padded.items()}
        return tf.stack([loss, accuracy]), sums, d_dense

    def _table_gradient(
        self, name: str, distinct: Distinct, gradient: tf.Tensor
    ) -> tf.Tensor | tf.IndexedSlices:
        table = self._tables[name]
        shape = tf.constant(table.shape.as_list(), tf.int32)
        if self._config.lazy_embedding_updates:
            return tf.IndexedSlices(gradient, distinct.indices, shape)
        return tf.scatter_nd(distinct.indices[:, tf.newaxis], gradient, shape)

    @tf.function(autograph=False)
    def _mixed(self, token_ids: tf.Tensor) -> tf.Tensor:
        return self.model.mix(self._infer(token_ids), token_ids)

    @tf.function(autograph=False)
    def _infer(self, token_ids: tf.Tensor) -> tf.Tensor:
        # The lookup of pairs stays outside of XLA, which has no binary search.
        embedded = self.model.embed(token_ids)
        return self._logits(embedded, tf.transpose(tf.not_equal(token_ids, PAD_ID)))
