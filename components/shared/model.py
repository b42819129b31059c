"""The sentiment model, as Keras keeps it: train fits it, export puts it behind a signature."""

from collections.abc import Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from components.shared.block_lstm import block_lstm, last_outputs
from components.shared.ngrams import NgramClassifier, ngram_keys, places_of
from components.shared.noise import Noise
from components.shared.pooling import Pooling, pool
from components.shared.recurrence import CELLS, CellName, Direction, project, recur
from components.shared.recurrent_weights import recurrent_weights
from components.shared.regions import RegionEmbedding
from components.shared.tokenizer import PAD_ID


@keras.saving.register_keras_serializable("imdb_pipeline")
class SentimentRNN(keras.Model):
    """Embeddings of tokens and of pairs of tokens, a recurrence over them, pooling, a logit.

    Where there is a linear classifier, what the model gives is a mixture of both logits.

    Called with int32 token ids `[batch, time]`, padded with 0, it gives float32 logits `[batch]`.
    Each row needs at least one token.

    Training goes through its parts, `indices`, rows of `tables` and `logits`, so that the gradient
    of a table is that of the rows in use.

    Args:
        vocabulary_size: rows of the token table.
        cell: the recurrent cell; "identity" for none, which needs the skip connection.
        bidirectional: whether a second recurrence reads backwards.
        embedding_size: width of the token table.
        hidden_size: units of the recurrence in each direction.
        pooling: how the outputs over time become one vector.
        masked: whether padding, then on the right, is masked.
        bigram_vocabulary_size: how many pairs of tokens have an embedding.
        bigram_embedding_size: width of the pair table.
        region_embedding_size: width of the region embeddings beside them; 0 for none.
        linear_ngrams: tokens in the longest runs that a linear classifier weighs; 0 for none.
        linear_rows: how many runs it knows.
        skip_connection: whether the embeddings, pooled, reach the output beside the recurrence.
        dropout_rate: in training, of embedding channels and of pooled features.
        seed: of the initial weights.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        cell: CellName | Literal["identity"],
        bidirectional: bool,
        embedding_size: int,
        hidden_size: int,
        pooling: Pooling,
        masked: bool,
        bigram_vocabulary_size: int,
        bigram_embedding_size: int,
        region_embedding_size: int,
        linear_ngrams: int,
        linear_rows: int,
        skip_connection: bool,
        dropout_rate: float,
        seed: int,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.config: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "cell": cell,
            "bidirectional": bidirectional,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "pooling": pooling,
            "masked": masked,
            "bigram_vocabulary_size": bigram_vocabulary_size,
            "bigram_embedding_size": bigram_embedding_size,
            "region_embedding_size": region_embedding_size,
            "linear_ngrams": linear_ngrams,
            "linear_rows": linear_rows,
            "skip_connection": skip_connection,
            "dropout_rate": dropout_rate,
            "seed": seed,
        }
        seeds = iter(range(seed, seed + 1_000))
        width = self._add_tables(seeds)
        self._add_linear()
        directions = 0 if cell == "identity" else 1 + bidirectional
        names = ("forward", "backward")[:directions]
        self._recurrences = {
            name: recurrent_weights(self, name, CELLS[cell], width, hidden_size, seeds)
            for name in names
        }
        features = hidden_size * directions * (2 if pooling == "max_mean" else 1)
        features += 2 * width if skip_connection else 0
        self._output_kernel = self.add_weight(
            name="output_kernel",
            shape=(features, 1),
            initializer=keras.initializers.GlorotUniform(next(seeds)),
        )
        self._output_bias = self.add_weight(name="output_bias", shape=(1,), initializer="zeros")
        self.built = True

    def _add_tables(self, seeds: Iterator[int]) -> int:
        """Makes the embeddings; gives the width of all together."""
        size, width = self.config["vocabulary_size"], self.config["embedding_size"]
        self.tables = {"token": self._table("token", size, width, seeds)}
        rows = self.config["bigram_vocabulary_size"]
        if rows:
            self.bigram_keys = self.add_weight(
                name="bigram_keys", shape=(rows,), dtype="int64", trainable=False
            )
            bigram_width = self.config["bigram_embedding_size"]
            self.tables["bigram"] = self._table("bigram", rows + 1, bigram_width, seeds)
            width += bigram_width
        self.region: RegionEmbedding | None = None
        if region_width := self.config["region_embedding_size"]:
            self.region = RegionEmbedding(vocabulary_size=size, width=region_width, name="region")
            width += region_width
        return width

    def _add_linear(self) -> None:
        """Makes the linear classifier, if there is to be one, and what mixes it with the RNN."""
        self.linear: NgramClassifier | None = None
        if self.config["linear_ngrams"]:
            self.linear = NgramClassifier(
                vocabulary_size=self.config["vocabulary_size"],
                order=self.config["linear_ngrams"],
                rows=self.config["linear_rows"],
                name="linear",
            )
            # The weights of the RNN's logit and of the linear classifier's, and a bias.
            self.mixture = self.add_weight(
                name="mixture", shape=(3,), initializer="ones", trainable=False
            )

    def _table(self, name: str, rows: int, width: int, seeds: Iterator[int]) -> keras.Variable:
        initializer = keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds))
        return self.add_weight(name=f"{name}_table", shape=(rows, width), initializer=initializer)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), **self.config}

    def call(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Float32 logits `[batch]` of int32 token ids `[batch, time]`, without dropout."""
        del training  # fit isn't used: training has a loop of its own
        mask = tf.transpose(tf.not_equal(token_ids, PAD_ID))
        logits = self.logits(self.embed(token_ids), mask, compiled=False)
        return self.mix(logits, token_ids)

    def mix(self, logits: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
        """The RNN's logits with those of the linear classifier, where there is one."""
        if self.linear is None:
            return logits
        return self.mixture[0] * logits + self.mixture[1] * self.linear(token_ids) + self.mixture[2]

    def embed(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """The embeddings from each table, float32 `[time, batch, width]`."""
        tables, indices = self.all_tables, self.indices(token_ids)
        return {name: tf.gather(tables[name], index) for name, index in indices.items()}

    @property
    def all_tables(self) -> dict[str, keras.Variable]:
        """The tables that are looked up, with the one that isn't trained."""
        return self.tables if self.region is None else {**self.tables, "region": self.region.table}

    def indices(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of each table that token ids `[batch, time]` use, int32 `[time, batch]`."""
        result = {"token": tf.transpose(token_ids)}
        if "bigram" in self.tables:
            keys = ngram_keys(token_ids, self.config["vocabulary_size"], 2)
            result["bigram"] = tf.transpose(places_of(keys, tf.convert_to_tensor(self.bigram_keys)))
        if self.region is not None:
            result["region"] = result["token"]
        return result

    def logits(
        self,
        rows: dict[str, tf.Tensor],
        mask: tf.Tensor,
        noise: Noise | None = None,
        compiled: bool = True,
    ) -> tf.Tensor:
        """The RNN's part of the logits of the probability that a review is positive.

        Args:
            rows: the embeddings from each table, float32 `[time, batch, width]`.
            mask: bool `[time, batch]`, true for tokens.
            noise: draws dropout in training, with static shapes; None for inference.
            compiled: whether XLA may compile this; else an LSTM takes an operation that it lacks.

        Returns:
            float32 `[batch]`.
        """
        if self.region is not None:
            rows = {**rows, "region": self.region(rows["region"], mask)}
        embedded = tf.concat(list(rows.values()), axis=-1)
        if noise is not None:
            embedded = noise.drop(embedded, self.config["dropout_rate"], salt=0)
        if not self._recurrences:
            return self._output({}, embedded, self._read_mask(mask), noise)
        if compiled or self.config["cell"] != "lstm":
            return self.read(self.project(embedded), embedded, mask, noise)
        mask = self._read_mask(mask)
        return self._output(self._recur_in_blocks(embedded, mask), embedded, mask, noise)

    def project(self, embedded: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each direction reads of embeddings, float32 `[..., width]`: its projections.

        Returns:
            float32 `[..., gates * hidden]`, by the name of the direction.
        """
        product = tf.matmul if embedded.shape.rank == 2 else project
        return {
            name: product(embedded, tf.convert_to_tensor(kernel)) + bias[0]
            for name, (kernel, _, bias) in self._recurrences.items()
        }

    def read(
        self,
        projected: dict[str, tf.Tensor],
        embedded: tf.Tensor | None,
        mask: tf.Tensor,
        noise: Noise | None,
    ) -> tf.Tensor:
        """The logits, float32 `[batch]`, of what `project` gave, each `[time, batch, ...]`.

        `embedded` is for the skip connection; None without one.
        """
        mask = self._read_mask(mask)
        read = self._recur(projected, mask, training=noise is not None)
        return self._output(read, embedded, mask, noise)

    def _read_mask(self, mask: tf.Tensor) -> tf.Tensor:
        """Of `[time, batch]`, `[time, batch, 1]`: true where the recurrences step."""
        return (mask if self.config["masked"] else tf.ones_like(mask))[..., tf.newaxis]

    def _output(
        self,
        read: dict[str, tf.Tensor],
        embedded: tf.Tensor | None,
        mask: tf.Tensor,
        noise: Noise | None,
    ) -> tf.Tensor:
        pooled = [
            pool(outputs, mask, self.config["pooling"], backward=name == "backward")
            for name, outputs in read.items()
        ]
        if self.config["skip_connection"]:
            pooled.append(pool(embedded, mask, "max_mean"))
        features = tf.concat(pooled, axis=-1)
        if noise is not None:
            features = noise.drop(features, self.config["dropout_rate"], salt=1)
        return tf.squeeze(tf.matmul(features, self._output_kernel) + self._output_bias, axis=-1)

    def _recur(
        self, projected: dict[str, tf.Tensor], mask: tf.Tensor, training: bool
    ) -> dict[str, tf.Tensor]:
        """The outputs of each direction."""
        directions = [
            Direction(
                inputs=projected[name],
                mask=mask,
                kernel=tf.convert_to_tensor(recurrent_kernel),
                # Not tf.zeros_like, a constant: XLA would name it otherwise in each process.
                bias=bias[1] if bias.shape[0] == 2 else tf.raw_ops.ZerosLike(x=bias[0]),
                backward=name == "backward",
            )
            for name, (_, recurrent_kernel, bias) in self._recurrences.items()
        ]
        outputs = recur(CELLS[self.config["cell"]], directions, training)
        return dict(zip(self._recurrences, outputs, strict=True))

    def _recur_in_blocks(self, embedded: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `_recur`, but each direction in its order of reading, which pooling doesn't mind.

        For the pooling "last" each direction has a single step, the last.
        """
        lengths = tf.reduce_sum(tf.cast(mask[..., 0], tf.int32), axis=0)
        result: dict[str, tf.Tensor] = {}
        for name, (kernel, recurrent_kernel, bias) in self._recurrences.items():
            weights = [tf.convert_to_tensor(v) for v in (kernel, recurrent_kernel, bias[0])]
            outputs = block_lstm(embedded, lengths, *weights, backward=name == "backward")
            if self.config["pooling"] == "last":
                outputs = last_outputs(outputs, lengths)[tf.newaxis]
            result[name] = outputs
        return result
