"""One step of training and the measuring of a split, under a distribution strategy."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from components.shared import events
from components.shared.config import TrainConfig
from components.shared.model import SentimentRNN
from components.shared.noise import Noise
from components.shared.recurrent_layer import Target
from components.shared.tokenizer import PAD_ID, UNK_ID
from components.train.batches import Batch
from components.train.distinct import Distinct
from components.train.linear import mixture
from components.train.optimizer import Adam, Gradient
from components.train.row_sums import row_sums
from components.train.shards import has_bfloat16, shards_of, target_of

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
        target: what the forward and backward passes are compiled for; by default what the
            strategy's devices are.
    """

    def __init__(
        self,
        model: SentimentRNN,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        target: Target | None = None,
    ) -> None:
        self.model = model
        self._config = config
        self._strategy = strategy
        self._target: Target = target or target_of(strategy)
        self._dtype = tf.float32
        if config.precision == "bfloat16":
            if has_bfloat16(self._target):
                self._dtype = tf.bfloat16
            else:
                events.progress("precision=bfloat16: no device here has it; computes in float32")
        self._tables = {name: table.value for name, table in model.tables.items()}
        self._lookups = {name: table.value for name, table in model.all_tables.items()}
        tables = {id(table) for table in self._tables.values()}
        variables = [v.value for v in model.trainable_variables]
        self._dense = [v for v in variables if id(v) not in tables]
        with strategy.scope():
            self.optimizer = Adam(self.weights, config.clip_norm, compiled=self._target == "gpu")
        # Without dropout between them, and with nothing else that reads the embeddings, each
        # distinct token of a batch is projected once, however often it occurs.
        self._projects = self._target == "cpu" and not (
            model.config["dropout_rate"]
            or model.config["skip_connection"]
            or model.config["bigram_vocabulary_size"]
            or model.region
        )
        self._gradients = tf.function(self._replica_gradients, jit_compile=True, autograph=False)
        self._whole_gradients = tf.function(
            self._replica_whole_gradients, jit_compile=True, autograph=False
        )
        # XLA adds the occurrences of a row up, on a CPU, which takes it a third of the time of
        # TensorFlow's own kernel. On a GPU it would be a loop over all of them.
        self._sum = tf.function(tf.math.unsorted_segment_sum, jit_compile=True, autograph=False)
        self._logits = tf.function(
            partial(model.logits, target=self._target), jit_compile=True, autograph=False
        )

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
            np.stack([self._logits_of(ids), self.model.linear(ids).numpy(), labels, weights])
            for ids, labels, weights in ((b.token_ids, b.labels, b.weights) for b in batches)
        ]
        self.model.mixture.assign(mixture(*np.concatenate(parts, axis=1)))

    def predict(self, token_ids: np.ndarray) -> np.ndarray:
        """Float32 logits `[batch]` of int32 token ids `[batch, time]`, on one device."""
        with _full_precision():
            return self._mixed(token_ids).numpy()

    def _logits_of(self, token_ids: np.ndarray) -> np.ndarray:
        """The RNN's part of what `predict` gives."""
        with _full_precision():
            return self._infer(token_ids).numpy()

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
        if self._target == "gpu":
            result, d_tables, d_dense = self._whole_gradients(
                self.model.indices(token_ids), tf.transpose(mask), labels, noise.seed,
                noise.first_row, noise.global_rows,
            )  # fmt: skip
        else:
            result, d_tables, d_dense = self._distinct_gradients(token_ids, mask, labels, noise)
        self.optimizer.apply([*d_tables, *d_dense], learning_rate)
        return result

    def _replica_whole_gradients(
        self,
        indices: dict[str, tf.Tensor],
        mask: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor,
        first_row: tf.Tensor,
        global_rows: int,
    ) -> tuple[tf.Tensor, list[Gradient], list[tf.Tensor]]:
        """Loss and accuracy, and the gradients of the tables and of the dense variables.

        On a GPU it costs less to look each occurrence of a token up than to find the distinct ones,
        and to keep a gradient of all rows of a table than of some.
        """
        noise = Noise(seed, first_row, labels.shape[0], global_rows)
        rows = {name: tf.gather(self._lookups[name], index) for name, index in indices.items()}
        result, d_rows, d_dense = self._gradients_of_rows(rows, mask, labels, noise)
        d_tables: list[Gradient] = []
        for name, table in self._tables.items():
            gradient = row_sums(d_rows[name], indices[name], table.shape[0])
            d_tables.append(gradient if self._config.lazy_embedding_updates else gradient.sums)
        return result, d_tables, d_dense

    def _distinct_gradients(
        self, token_ids: tf.Tensor, mask: tf.Tensor, labels: tf.Tensor, noise: Noise
    ) -> tuple[tf.Tensor, list[Gradient], list[tf.Tensor]]:
        """As `_replica_whole_gradients`, by way of the distinct rows of the tables."""
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
        result, d_read, d_dense = self._sharded_gradients(
            padded, distinct_of, tf.transpose(mask), labels, noise
        )
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
        return result, d_tables, d_dense

    def _sharded_gradients(
        self,
        padded: dict[str, tf.Tensor],
        distinct: dict[str, Distinct],
        mask: tf.Tensor,
        labels: tf.Tensor,
        noise: Noise,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        """The sums of `_replica_gradients` over the shards of the rows.

        The gradients of what is read are, for each distinct row, the sum over its occurrences.
        """
        results = []
        for shard in shards_of(noise.rows, self._strategy):
            places = {name: distinct[name].places[:, shard] for name in padded}
            result, d_read, d_dense = self._gradients(
                padded,
                places,
                mask[:, shard],
                labels[shard],
                noise.seed,
                noise.first_row + shard.start,
                noise.global_rows,
            )
            sums = {
                name: self._sum(d, places[name], distinct[name].most) for name, d in d_read.items()
            }
            results.append((result, sums, d_dense))
        result, sums, d_dense = tf.nest.map_structure(lambda *parts: tf.add_n(parts), *results)
        return result, {name: distinct[name].unpad(d) for name, d in sums.items()}, d_dense

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
        """As `_gradients_of_rows`, of rows that are looked up here."""
        noise = Noise(seed, first_row, labels.shape[0], global_rows)
        rows = {name: tf.gather(padded[name], places[name]) for name in padded}
        return self._gradients_of_rows(rows, mask, labels, noise)

    def _gradients_of_rows(
        self, rows: dict[str, tf.Tensor], mask: tf.Tensor, labels: tf.Tensor, noise: Noise
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        """Loss and accuracy, and the gradients of what is read and of the dense variables.

        Args:
            rows: what is read at each place, float32 `[time, batch, width]`.
            mask: bool `[time, batch]`, true for tokens.
            labels: float32 `[batch]`.
            noise: draws dropout.
        """
        trained = {
            name: values
            for name, values in rows.items()
            if name in self._tables or name not in self._lookups
        }
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            tape.watch(self._dense)
            if self._projects:
                logits = self.model.read(rows, mask, noise, self._target)
            else:
                logits = self.model.logits(rows, mask, noise, self._target, self._dtype)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_sum(losses) / noise.global_rows
        d_rows, d_dense = tape.gradient(
            loss, (trained, self._dense), unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        right = tf.equal(logits >= 0.0, labels > 0.5)
        accuracy = tf.reduce_sum(tf.cast(right, tf.float32)) / noise.global_rows
        return tf.stack([loss, accuracy]), d_rows, d_dense

    def _table_gradient(self, name: str, distinct: Distinct, gradient: tf.Tensor) -> Gradient:
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


@contextmanager
def _full_precision() -> Iterator[None]:
    """Has products of float32 matrices computed as the exported model computes them elsewhere.

    XLA reads the setting when it compiles, TensorFlow at each operation.
    """
    settings = tf.config.experimental
    enabled = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        settings.enable_tensor_float_32_execution(enabled)
