"""Preprocess: a Beam pipeline from prepared reviews to TFRecords, vocabulary and statistics."""

import contextlib
import io
import math
import re
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.preprocess import transforms
from components.preprocess.statistics import SplitStatistics
from components.shared.artifacts import atomic_directory, file_sha256, read_json, write_json
from components.shared.config import PreprocessConfig
from components.shared.errors import InputError
from components.shared.features import STATISTICS_FILE, VOCABULARY_FILE, Features
from components.shared.reviews import split_shards, split_sizes

ROWS_PER_SHARD = 10_000

# Beam's DirectRunner would first try to download Prism; this is the in-process runner behind it.
_RUNNERS = {"DirectRunner": "apache_beam.runners.portability.fn_api_runner.FnApiRunner"}


def preprocess(
    reviews: str | Path,
    config: PreprocessConfig,
    examples: str | Path,
    vocabulary: str | Path,
    statistics: str | Path,
) -> dict[str, Any]:
    """Tokenizes, counts over train, cuts the vocabulary, encodes and writes every split.

    The same reviews give the same bytes, whichever runner and however many workers.

    Args:
        reviews: the prepared TFDS data set that ingest wrote.
        config: how to encode, and Beam's options.
        examples: the folder to make with the TFRecords, see `components.shared.features`.
        vocabulary: the folder to make with `vocabulary.txt`, a token a line.
        statistics: the folder to make with `statistics.json`.

    Returns:
        The statistics: by split `rows`, `labels`, `length_quantiles` (tokens),
        `out_of_vocabulary_rate`, `empty_reviews`, `duplicate_reviews`; and `vocabulary_size`.

    Raises:
        InputError: the reviews are missing or corrupt, or Beam refuses its options.
    """
    rows = split_sizes(reviews)
    shards = {split: max(1, math.ceil(n / ROWS_PER_SHARD)) for split, n in rows.items()}
    with (
        atomic_directory(statistics) as statistics_dir,
        atomic_directory(vocabulary) as vocabulary_dir,
        atomic_directory(examples) as examples_dir,
    ):
        run_pipeline(reviews, config, shards, examples_dir, vocabulary_dir, statistics_dir)
        summary = read_json(statistics_dir / STATISTICS_FILE)
        summary["vocabulary_size"] = _count_lines(vocabulary_dir / VOCABULARY_FILE)
        write_json(statistics_dir / STATISTICS_FILE, summary)
        Features(
            vocabulary_size=summary["vocabulary_size"],
            vocabulary_sha256=file_sha256(vocabulary_dir / VOCABULARY_FILE),
            max_length=config.max_length,
            truncating=config.truncating,
            rows={split: part["rows"] for split, part in summary["splits"].items()},
        ).save(examples_dir)
    return summary


def run_pipeline(
    reviews: str | Path,
    config: PreprocessConfig,
    shards: dict[str, int],
    examples_dir: Path,
    vocabulary_dir: Path,
    statistics_dir: Path,
) -> None:
    """Builds the Beam pipeline and runs it to its end."""
    files = [(split, str(file)) for split in shards for file in split_shards(reviews, split)]
    try:
        with beam.Pipeline(options=_options(config)) as pipeline:
            sources = pipeline | "Files" >> beam.Create(files) | "Spread" >> beam.Reshuffle()
            # Train is read once more to count it: to keep its reviews until the vocabulary is
            # known would take as much memory as there are.
            tokens = (
                sources
                | "Train" >> beam.Filter(lambda source: source[0] == "train")
                | "ReadTrain" >> beam.FlatMap(transforms.read_reviews)
                | "Count" >> beam.ParDo(transforms.CountTokens())
                | "SumCounts" >> beam.CombineGlobally(transforms.SumCounts())
                | "Cut" >> beam.Map(transforms.cut_vocabulary, config.vocabulary_size)
            )
            path = str(vocabulary_dir / VOCABULARY_FILE)
            _ = tokens | "WriteVocabulary" >> beam.Map(
                lambda tokens: Path(path).write_bytes(transforms.vocabulary_bytes(tokens))
            )
            encoded = (
                sources
                | "Read" >> beam.FlatMap(transforms.read_reviews)
                | "Encode"
                >> beam.ParDo(
                    transforms.Encode(config, shards), beam.pvalue.AsSingleton(tokens)
                ).with_outputs(transforms.Encode.STATISTICS, main="records")
            )
            duplicates = (
                encoded.records
                | "ByShard" >> beam.GroupByKey()
                | "WriteShards" >> beam.ParDo(transforms.WriteShard(str(examples_dir), shards))
            )
            _write_statistics((encoded.statistics, duplicates), statistics_dir)
    except Exception as error:
        mistake = _user_mistake(str(error), config)
        if mistake is None:
            raise
        raise mistake from error


def _write_statistics(parts: tuple[Any, Any], directory: Path) -> None:
    path = str(directory / STATISTICS_FILE)

    def write(splits: list[tuple[str, SplitStatistics]]) -> None:
        write_json(path, {"splits": {split: part.summary() for split, part in splits}})

    _ = (
        parts
        | "AllStatistics" >> beam.Flatten()
        | "AddStatistics" >> beam.CombinePerKey(transforms.add_statistics)
        | "Collect" >> beam.combiners.ToList()
        | "WriteStatistics" >> beam.Map(write)
    )


def _options(config: PreprocessConfig) -> PipelineOptions:
    runner = _RUNNERS.get(config.beam_runner, config.beam_runner)
    options = PipelineOptions([f"--runner={runner}", *config.beam_args])
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            options.get_all_options()
    except SystemExit:
        reason = usage.getvalue().rpartition("error: ")[2].strip()
        raise InputError(f"beam_args={' '.join(config.beam_args)}: Beam says: {reason}") from None
    return options


def _user_mistake(text: str, config: PreprocessConfig) -> InputError | None:
    """The user's mistake behind an error of Beam's, which carries a worker's error as text."""
    if "Unexpected pipeline runner" in text:
        return InputError(f"beam_runner={config.beam_runner}: {text}")
    found = re.search(r"InputError: (.+?)(?: \[while running|\n|$)", text)
    return InputError(found.group(1)) if found else None


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
