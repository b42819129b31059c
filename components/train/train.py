"""Train: from encoded examples to the Keras model of the best epoch."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.shared import events
from components.shared.artifacts import atomic_directory
from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import (
    Examples,
    Features,
    concatenate,
    read_examples,
    read_vocabulary,
)
from components.shared.model import SentimentRNN
from components.shared.model_files import save_model
from components.shared.reviews import UNSUPERVISED
from components.train.batches import global_batch_size
from components.train.checkpoint import LABELS_FILE, REGIONS_FILE, TEACHER, kept
from components.train.compilation_cache import compilation_cache, prepare_compilation_cache
from components.train.devices import (
    describe_devices,
    make_strategy,
    require_accelerators,
    shape_cost,
    share_memory,
)
from components.train.fit import Fit
from components.train.gpu_flags import set_gpu_flags
from components.train.history import write_history
from components.train.linear import Linear, fit_linear
from components.train.ngrams import commonest_ngrams
from components.train.regions import Regions, fit_regions
from components.train.soft_labels import soft_labels
from components.train.trainer import Trainer


def train(
    examples: str | Path,
    vocabulary: str | Path,
    config: TrainConfig,
    model: str | Path,
    model_run: str | Path,
    checkpoint_dir: str | Path | None,
) -> dict[str, Any]:
    """Trains under MirroredStrategy over all GPUs, or on the CPU where there is none.

    Cut off and called again with the same `checkpoint_dir`, it reaches the very weights that it
    would have reached in one go.

    Args:
        examples: the folder of encoded examples; the splits `train` and `validation` are read,
            and `unsupervised` where the configuration says so.
        vocabulary: the folder of the vocabulary that they were encoded with.
        config: the model and how to train it.
        model: the folder to make with the Keras model of the best epoch.
        model_run: the folder to make with TensorBoard logs, `history.json` and a picture.
        checkpoint_dir: where checkpoints are kept until training has ended; None for none.

    Returns:
        `epochs`, for each the `loss` and `accuracy` of the RNN in training, and the model's
        `validation_loss` and `validation_accuracy`;
        `best_epoch`, from 1; `step_losses`, the loss of each step; in self-training they are the
        last model's. `devices`, what it was trained on, see `describe_devices`.

    Raises:
        InputError: examples or vocabulary are missing, damaged or don't match, or are too few.
        Failure: there are fewer accelerators than promised.
    """
    share_memory()
    prepare_compilation_cache()
    set_gpu_flags()
    require_accelerators(config.accelerators)
    checkpoints = Path(checkpoint_dir) if checkpoint_dir else None
    with compilation_cache(checkpoints) as publish:
        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(config.seed)
        features = Features.load(examples)
        read_vocabulary(vocabulary, features)
        labelled = read_examples(examples, "train")
        training = _Training(
            config=config,
            features=features,
            validation=_read_validation(examples),
            strategy=make_strategy(),
            checkpoints=checkpoints,
            epoch_ended=publish,
        )
        labelled, regions = training.prepare(examples, labelled)
        trainer, history = training.fit(labelled, regions, checkpoints)
        history["devices"] = describe_devices(training.strategy)
        with atomic_directory(model_run) as run_dir, atomic_directory(model) as model_dir:
            write_history(history, run_dir)
            save_model(trainer.model, features, config.to_mapping(), model_dir)
    if checkpoint_dir:
        shutil.rmtree(checkpoint_dir, ignore_errors=True)
    return history


def _read_validation(examples: str | Path) -> Examples:
    validation = read_examples(examples, "validation")
    if len(validation) == 0:
        raise InputError(f"{examples}: the validation split is empty; bring more reviews")
    return validation


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    """What the stages of a training share."""

    config: TrainConfig
    features: Features
    validation: Examples
    strategy: tf.distribute.Strategy
    checkpoints: Path | None
    epoch_ended: Callable[[], None]

    @property
    def identity(self) -> dict[str, Any]:
        """What is trained, on what, how: JSON values."""
        return {
            "train": self.config.to_mapping(),
            "features": asdict(self.features),
            # The order of the examples follows from it.
            "batch_size": global_batch_size(self.config, self.strategy.num_replicas_in_sync),
        }

    def prepare(self, examples: str | Path, labelled: Examples) -> tuple[Examples, Regions | None]:
        """What the model is to learn from, and the region embeddings that it is to read."""
        config = self.config
        in_regions = config.unlabelled and config.region_embedding_size > 0
        texts = [labelled]
        if in_regions or config.self_training:
            unlabelled = self._read_unlabelled(examples)
            texts += [unlabelled] if in_regions else []
        regions = self._learn_regions(texts) if config.region_embedding_size else None
        learned = labelled
        for number in range(1, config.self_training + 1):
            told = self._label(number, learned, unlabelled, regions)
            chances = labelled.labels.astype(np.float32)
            learned = concatenate([replace(labelled, labels=chances), told])
        return learned, regions

    def _read_unlabelled(self, examples: str | Path) -> Examples:
        if not self.features.rows.get(UNSUPERVISED):
            raise InputError(
                f"{examples}: there are no unlabelled reviews; set unlabelled=false and "
                "self_training=0, or bring a source that has some"
            )
        return read_examples(examples, UNSUPERVISED)

    def _learn_regions(self, texts: list[Examples]) -> Regions:
        """Learns region embeddings, or takes those that were kept."""
        size, length = self.features.vocabulary_size, self.features.max_length
        learned = kept(
            self.checkpoints / REGIONS_FILE if self.checkpoints else None,
            self.identity,
            lambda: asdict(
                fit_regions(concatenate(texts), size, length, self.config, self.strategy)
            ),
        )
        return Regions(**learned)

    def _label(
        self, number: int, learned: Examples, unlabelled: Examples, regions: Regions | None
    ) -> Examples:
        """The unlabelled examples as labelled by teacher `number`, which fits those to learn."""
        directory = self.checkpoints / TEACHER.format(number) if self.checkpoints else None

        def teach() -> dict[str, np.ndarray]:
            events.progress(
                f"training model {number} of {self.config.self_training}, to label the "
                "unlabelled reviews"
            )
            teacher, _ = self.fit(learned, regions, directory)
            return soft_labels(teacher, unlabelled, self.features, self.config)

        told = kept(directory / LABELS_FILE if directory else None, self.identity, teach)
        return replace(unlabelled, **told)

    def fit(
        self, labelled: Examples, regions: Regions | None, checkpoints: Path | None
    ) -> tuple[Trainer, dict[str, Any]]:
        """Fits a model to labelled examples; the trainer, with the best weights, and the course."""
        network = self._prepare(labelled, regions)
        trainer = Trainer(network, self.config, self.strategy)
        length = self.features.max_length
        cost = shape_cost(self.strategy)
        course = Fit(
            trainer, self.config, labelled, self.validation, length, self.epoch_ended, cost
        )
        return trainer, course.run(self.identity, checkpoints)

    def _prepare(self, labelled: Examples, regions: Regions | None) -> SentimentRNN:
        """The model, with all in it that isn't trained with the RNN but fitted beforehand."""
        config, size = self.config, self.features.vocabulary_size
        keys = commonest_ngrams(labelled, size, (2,), config.bigram_vocabulary_size)
        linear = None
        if config.linear_ngrams:
            events.progress("fitting the linear classifier")
            linear = fit_linear(labelled, size, config.linear_ngrams)
        with self.strategy.scope():
            return build_model(config, size, keys, linear, regions)


def build_model(
    config: TrainConfig,
    vocabulary_size: int,
    bigram_keys: np.ndarray,
    linear: Linear | None = None,
    regions: Regions | None = None,
) -> SentimentRNN:
    """The model of a configuration, with its initial weights."""
    network = SentimentRNN(
        vocabulary_size=vocabulary_size,
        cell=config.cell,
        bidirectional=config.bidirectional,
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        pooling=config.pooling,
        masked=config.padding == "right",
        bigram_vocabulary_size=len(bigram_keys),
        bigram_embedding_size=config.bigram_embedding_size,
        region_embedding_size=config.region_embedding_size if regions else 0,
        linear_ngrams=config.linear_ngrams if linear else 0,
        linear_rows=len(linear.keys) if linear else 0,
        skip_connection=config.skip_connection or config.cell == "identity",
        dropout_rate=config.dropout_rate,
        seed=config.seed,
        name="sentiment_rnn",
    )
    if len(bigram_keys):
        network.bigram_keys.assign(bigram_keys)
    if regions and network.region:
        network.region.set(regions.table, regions.bias)
    if linear and network.linear:
        network.linear.set(linear.keys, linear.ratios, linear.weights, linear.bias)
    return network
