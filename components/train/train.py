"""Train: from encoded examples to the Keras model of the best epoch."""

import shutil
from dataclasses import asdict
from functools import partial
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
from components.train.checkpoint import REGIONS_FILE, kept
from components.train.fit import Fit
from components.train.history import write_history
from components.train.linear import Linear, fit_linear
from components.train.ngrams import commonest_ngrams
from components.train.regions import Regions, fit_regions
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
        examples: the folder of encoded examples; the splits `train` and `validation` are read.
        vocabulary: the folder of the vocabulary that they were encoded with.
        config: the model and how to train it.
        model: the folder to make with the Keras model of the best epoch.
        model_run: the folder to make with TensorBoard logs, `history.json` and a picture.
        checkpoint_dir: where checkpoints are kept until training has ended; None for none.

    Returns:
        `epochs`, for each the `loss` and `accuracy` of the RNN in training, and the model's
        `validation_loss` and `validation_accuracy`;
        `best_epoch`, from 1; `step_losses`, the loss of each step.

    Raises:
        InputError: examples or vocabulary are missing, damaged or don't match, or are too few.
    """
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(config.seed)
    features = Features.load(examples)
    read_vocabulary(vocabulary, features)
    train_examples = read_examples(examples, "train")
    validation_examples = read_examples(examples, "validation")
    if len(validation_examples) == 0:
        raise InputError(f"{examples}: the validation split is empty; bring more reviews")
    strategy = make_strategy()
    checkpoints = Path(checkpoint_dir) if checkpoint_dir else None
    identity = {"train": config.to_mapping(), "features": asdict(features)}
    network = _prepare(examples, train_examples, features, config, strategy, checkpoints, identity)
    trainer = Trainer(network, config, strategy)
    fit = Fit(trainer, config, train_examples, validation_examples, features.max_length)
    history = fit.run(identity, checkpoints)
    with atomic_directory(model_run) as run_dir, atomic_directory(model) as model_dir:
        write_history(history, run_dir)
        save_model(network, features, config.to_mapping(), model_dir)
    if checkpoint_dir:
        shutil.rmtree(checkpoint_dir, ignore_errors=True)
    return history


def _prepare(
    examples: str | Path,
    train_examples: Examples,
    features: Features,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    checkpoints: Path | None,
    identity: dict[str, Any],
) -> SentimentRNN:
    """The model, with all in it that isn't trained with the RNN but fitted beforehand."""
    size = features.vocabulary_size
    keys = commonest_ngrams(train_examples, size, (2,), config.bigram_vocabulary_size)
    linear = None
    if config.linear_ngrams:
        events.progress("fitting the linear classifier")
        linear = fit_linear(train_examples, size, config.linear_ngrams)
    regions = None
    if config.region_embedding_size:
        learn = partial(_learn_regions, examples, train_examples, features, config, strategy)
        path = checkpoints / REGIONS_FILE if checkpoints else None
        regions = Regions(**kept(path, identity, lambda: asdict(learn())))
    with strategy.scope():
        return build_model(config, size, keys, linear, regions)


def _learn_regions(
    examples: str | Path,
    train_examples: Examples,
    features: Features,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
) -> Regions:
    """Learns region embeddings from train and, if so configured, from the unlabelled reviews."""
    texts = [train_examples]
    if config.unlabelled:
        if not features.rows.get(UNSUPERVISED):
            raise InputError(
                f"{examples}: there are no unlabelled reviews; set unlabelled=false, or bring a "
                "source that has some"
            )
        texts.append(read_examples(examples, UNSUPERVISED))
    size, length = features.vocabulary_size, features.max_length
    return fit_regions(concatenate(texts), size, length, config, strategy)


def make_strategy() -> tf.distribute.MirroredStrategy:
    """A MirroredStrategy over all GPUs, else over all logical CPUs."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    # The default between CPUs, a collective all-reduce, mixes up gradients of several shapes.
    return tf.distribute.MirroredStrategy(
        [cpu.name for cpu in tf.config.list_logical_devices("CPU")],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


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
