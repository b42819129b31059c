"""The sentiment model, as Keras keeps it: train fits it, export puts it behind a signature."""

from collections.abc import Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from components.shared.ngrams import NgramClassifier, ngram_keys, places_of
from components.shared.noise import Noise
from components.shared.pooling import Pooling, pool
from components.shared.recurrence import CellName
from components.shared.recurrent_layer import RecurrentLayer, Target
from components.shared.recurrent_weights import recurrent_layer
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
        num_layers: layers of recurrences, each of which reads the outputs of the one before.
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
        num_layers: int = 1,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.config: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "cell": cell,
            "bidirectional": bidirectional,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size, "num_layers": num_layers,
            "pooling": pooling, "masked": masked,
            "bigram_vocabulary_size": bigram_vocabulary_size,
            "bigram_embedding_size": bigram_embedding_size,
            "region_embedding_size": region_embedding_size,
            "linear_ngrams": linear_ngrams, "linear_rows": linear_rows,
            "skip_connection": skip_connection,
            "dropout_rate": dropout_rate, "seed": seed,
        }  # fmt: skip
        seeds = iter(range(seed, seed + 1_000))
        width = self._add_tables(seeds)
        self._add_linear()
        names = ("forward", "backward")[: 1 + bidirectional]
        self._layers_of_recurrences: list[RecurrentLayer] = []
        if cell != "identity":
            for number in range(1, 1 + num_layers):
                reads = width if number == 1 else hidden_size * len(names)
                self._layers_of_recurrences.append(
                    recurrent_layer(self, number, cell, names, reads, hidden_size, seeds)
                )
        # Keras sees the variables of attributes alone, which a SavedModel needs to have seen.
        self._recurrent_weights = [w for it in self._layers_of_recurrences for w in it.weights]
        features = 0 if cell == "identity" else hidden_size * len(names)
        features *= 2 if pooling == "max_mean" else 1
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
        logits = self.logits(self.embed(token_ids), mask, target="server")
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
        target: Target = "cpu",
        dtype: tf.DType = tf.float32,
    ) -> tf.Tensor:
        """The RNN's part of the logits of the probability that a review is positive.

        Args:
            rows: the embeddings from each table, float32 `[time, batch, width]`.
            mask: bool `[time, batch]`, true for tokens.
            noise: draws dropout in training, with static shapes; None for inference.
            target: what it runs on, see `recurrent_layer`.
            dtype: of the products of matrices in the recurrences.

        Returns:
            float32 `[batch]`.
        """
        if self.region is not None:
            rows = {**rows, "region": self.region(rows["region"], mask)}
        embedded = tf.concat(list(rows.values()), axis=-1)
        if noise is not None:
            embedded = noise.drop(embedded, self.config["dropout_rate"], salt=0)
        mask = self._read_mask(mask)
        read: dict[str, tf.Tensor] = {}
        if layers := self._layers_of_recurrences:
            read = layers[0](tf.cast(embedded, dtype), mask, noise is not None, target)
            read = self._read_on(read, mask, noise is not None, target)
        return self._output(read, embedded, mask, noise)

    def project(self, embedded: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each direction of the first layer reads of embeddings, float32 `[..., width]`.

        Returns:
            Its projections, float32 `[..., gates * hidden]`, by the name of the direction.
        """
        return self._layers_of_recurrences[0].project(embedded)

    def read(
        self, projected: dict[str, tf.Tensor], mask: tf.Tensor, noise: Noise | None, target: Target
    ) -> tf.Tensor:
        """The logits, float32 `[batch]`, of what `project` gave, each `[time, batch, ...]`."""
        mask, training = self._read_mask(mask), noise is not None
        read = self._layers_of_recurrences[0].read(projected, mask, training, target)
        read = self._read_on(read, mask, training, target)
        return self._output(read, None, mask, noise)

    def _read_on(
        self, read: dict[str, tf.Tensor], mask: tf.Tensor, training: bool, target: Target
    ) -> dict[str, tf.Tensor]:
        """The outputs of the last layer, of those of the first one."""
        for layer in self._layers_of_recurrences[1:]:
            read = layer(tf.concat(list(read.values()), axis=-1), mask, training, target)
        return read

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
            pool(
                tf.cast(outputs, tf.float32),
                mask,
                self.config["pooling"],
                backward=name == "backward",
            )
            for name, outputs in read.items()
        ]
        if self.config["skip_connection"]:
            pooled.append(pool(embedded, mask, "max_mean"))
        features = tf.concat(pooled, axis=-1)
        if noise is not None:
            features = noise.drop(features, self.config["dropout_rate"], salt=1)
        return tf.squeeze(tf.matmul(features, self._output_kernel) + self._output_bias, axis=-1)
