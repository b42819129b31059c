"""The configuration of the tasks: frozen, validated when made, plain JSON on its way to a task."""

from dataclasses import dataclass
from typing import Literal

from components.shared.task_config import TaskConfig, require_range


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig(TaskConfig):
    """How raw reviews become splits."""

    test_fraction: float = 0.2
    """The share of reviews held out for test where the source has no official test split."""

    validation_fraction: float = 0.1
    """The share of the remaining labelled reviews held out for validation."""

    min_reviews: int | None = 40
    """The fewest labelled reviews to train on (those for validation among them), and in test."""

    min_label_share: float | None = 0.1
    """The least share of the rarer label, of the reviews to train on and of test."""

    max_empty_share: float | None = 0.01
    """The greatest share of reviews without a letter, digit or symbol outside of HTML tags."""

    max_duplicate_share: float | None = 0.1
    """The greatest share of reviews that repeat the text of another one."""

    max_contradiction_share: float | None = 0.01
    """The greatest share of reviews whose text stands with the other label too."""

    max_overlap_share: float | None = 0.05
    """The greatest share of train reviews whose text stands in test; they are dropped."""

    max_archive_bytes: int = 32 << 30
    """The greatest size of an archive, unpacked."""

    max_archive_members: int = 2_000_000
    """The most files and folders in an archive."""

    def __post_init__(self) -> None:
        require_range(
            self,
            test_fraction=(0.01, 0.9),
            validation_fraction=(0.01, 0.9),
            min_reviews=(1, 10**9),
            min_label_share=(0.0, 0.5),
            max_empty_share=(0.0, 1.0),
            max_duplicate_share=(0.0, 1.0),
            max_contradiction_share=(0.0, 1.0),
            max_overlap_share=(0.0, 1.0),
            max_archive_bytes=(1, 2**50),
            max_archive_members=(1, 10**9),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessConfig(TaskConfig):
    """How reviews become TFRecords of token ids."""

    vocabulary_size: int = 30_000
    """Rows of the vocabulary: `<pad>`, `<unk>` and the commonest tokens of train."""

    max_length: int = 400
    """Tokens kept of a review."""

    truncating: Literal["pre", "post", "middle"] = "middle"
    """What of a longer review is cut off; "middle" keeps its first third and last two thirds."""

    max_length_drift: float | None = 0.1
    """How far the lengths of train may lie from those of the champion's train: the Jensen-Shannon
    divergence of their histograms, from 0 (alike) to 1 (nothing in common)."""

    max_out_of_vocabulary_drift: float | None = 0.05
    """How far the share of tokens that the champion's vocabulary lacks may lie from what it was
    when the champion was trained, both on validation."""

    beam_runner: str = "DirectRunner"
    """Apache Beam's runner: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ..."""

    beam_args: tuple[str, ...] = ()
    """More Beam pipeline options, such as `--direct_num_workers=2`; no secrets, for they are
    recorded."""

    beam_shared_dir: str | None = None
    """Where the workers of a cluster read the reviews and leave the results: a URL of a bucket, or
    a path that is mounted in the task and in every worker; none where they see the task's files."""

    def __post_init__(self) -> None:
        require_range(
            self,
            vocabulary_size=(3, 10_000_000),
            max_length=(1, 100_000),
            max_length_drift=(0.0, 1.0),
            max_out_of_vocabulary_drift=(0.0, 1.0),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(TaskConfig):
    """The model and how it is trained."""

    cell: Literal["simple_rnn", "lstm", "gru", "min_gru", "identity"] = "lstm"
    """The recurrent cell; that of "min_gru" is linear in its state, which makes it faster;
    "identity" leaves the recurrence out, to see what it is good for."""

    bidirectional: bool = True
    """Whether a second recurrence reads the review backwards; its outputs are concatenated."""

    embedding_size: int = 128
    """Width of a token's embedding."""

    hidden_size: int = 64
    """Units of the recurrence, in each direction."""

    num_layers: int = 1
    """Layers of recurrences, each of which reads the outputs of the one before."""

    pooling: Literal["last", "max", "mean", "max_mean"] = "max_mean"
    """How the outputs over time become one vector; "last" takes the final state."""

    padding: Literal["left", "right"] = "right"
    """Where short reviews are padded: on the right, masked, to the length of their bucket; or on
    the left, unmasked, to `max_length`, as the seed model does."""

    bigram_vocabulary_size: int = 0
    """How many of the commonest pairs of tokens have an embedding too; 0 for none."""

    bigram_embedding_size: int = 64
    """Width of a pair's embedding."""

    region_embedding_size: int = 0
    """Width of embeddings of each five words, learned from the words around them; 0 for none."""

    region_epochs: int = 2
    """Passes over the reviews to learn them."""

    unlabelled: bool = False
    """Whether they are learned from the unlabelled reviews too."""

    self_training: int = 0
    """Rounds in which the last model labels the unlabelled reviews for the next one to learn from;
    0 for none."""

    linear_ngrams: int = 0
    """Words in the longest runs that a linear classifier weighs beside the RNN, which learns what
    it leaves over; 0 for no such classifier."""

    skip_connection: bool = False
    """Whether the embeddings, pooled, reach the output beside the recurrence."""

    dropout_rate: float = 0.3
    """Share of embedding channels, and of pooled features, dropped in training."""

    word_dropout_rate: float = 0.0
    """Share of tokens replaced by `<unk>` in training."""

    learning_rate: float = 1e-3
    """Adam's step size."""

    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """Whether the step size stays, or falls to 0 in a line over `num_epochs`."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the recurrences' matrix products and of what training stores of each step, on a GPU that
    has bfloat16; weights, sums, losses and the exported model are float32 always."""

    lazy_embedding_updates: bool = True
    """Whether a step of Adam moves only the embeddings in its batch; else, as in Keras, all."""

    clip_norm: float | None = 1.0
    """The global norm to which gradients are clipped; none for no clipping."""

    batch_size: int = 32
    """Reviews in a batch, which the replicas share out; rounded down to a multiple of them."""

    per_replica_batch_size: int | None = None
    """Reviews in each replica's share of a batch, which grows with the replicas then; none for
    batches of `batch_size`, whatever the replicas."""

    accelerators: int = 0
    """How many accelerators training must see at least: with fewer it fails at once. It uses all
    that it sees."""

    num_epochs: int = 10
    """Passes over train, at most."""

    early_stopping_patience: int | None = 2
    """Epochs without a better validation accuracy, or a lower validation loss at an equal one,
    before training stops; none trains them all."""

    seed: int = 42
    """Seeds the weights, the order of the batches and dropout."""

    def __post_init__(self) -> None:
        require_range(
            self,
            embedding_size=(1, 4096),
            hidden_size=(1, 4096),
            num_layers=(1, 64),
            bigram_vocabulary_size=(0, 10_000_000),
            bigram_embedding_size=(1, 4096),
            region_embedding_size=(0, 4096),
            region_epochs=(1, 1000),
            self_training=(0, 100),
            linear_ngrams=(0, 3),
            dropout_rate=(0.0, 0.95),
            word_dropout_rate=(0.0, 0.95),
            learning_rate=(1e-8, 10.0),
            clip_norm=(1e-6, 1e6),
            batch_size=(1, 65_536),
            per_replica_batch_size=(1, 65_536),
            accelerators=(0, 1024),
            num_epochs=(1, 1000),
            early_stopping_patience=(1, 1000),
            seed=(0, 2**31 - 1),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(TaskConfig):
    """The gate's thresholds; a threshold of none isn't checked, and without any nothing passes."""

    min_accuracy: float | None = None
    """The least accuracy on test."""

    max_loss: float | None = None
    """The greatest binary cross-entropy on test."""

    min_auc: float | None = None
    """The least area under the ROC curve on test."""

    min_slice_accuracy: float | None = None
    """The least accuracy on each slice of test: each quartile of the length, and each label."""

    max_calibration_error: float | None = None
    """The greatest expected calibration error on test, over 15 bins (Guo et al., 2017)."""

    max_latency_ms: float | None = None
    """The greatest median time of a request with one review, in milliseconds; without it no time
    is measured, and equal inputs give an equal evaluation."""

    min_accuracy_over_baseline: float | None = None
    """How far above the linear baseline's accuracy a candidate must lie."""

    significance_level: float | None = 0.05
    """The level of McNemar's exact test that the candidate is worse than the champion."""

    max_accuracy_drop: float | None = 0.01
    """How far below the champion's accuracy, on the same reviews, a candidate may lie."""

    max_slice_accuracy_drop: float | None = 0.05
    """How far below the champion's accuracy on the same slice of test a candidate may lie."""

    max_accuracy_below_best: float | None = 0.01
    """How far a candidate may lie below the best accuracy ever recorded on the same reviews."""

    def __post_init__(self) -> None:
        require_range(
            self,
            min_accuracy=(0.0, 1.0),
            max_loss=(0.0, 100.0),
            min_auc=(0.0, 1.0),
            min_slice_accuracy=(0.0, 1.0),
            max_calibration_error=(0.0, 1.0),
            max_latency_ms=(0.0, 1e6),
            min_accuracy_over_baseline=(-1.0, 1.0),
            significance_level=(0.0, 1.0),
            max_accuracy_drop=(0.0, 1.0),
            max_slice_accuracy_drop=(0.0, 1.0),
            max_accuracy_below_best=(0.0, 1.0),
        )
