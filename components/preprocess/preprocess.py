"""Preprocess: a Beam pipeline from prepared reviews to TFRecords, vocabulary and statistics."""

from pathlib import Path
from typing import Any

import apache_beam as beam

from components.preprocess import transforms
from components.preprocess.checks import check_drift
from components.preprocess.runner import new_pipeline, running
from components.preprocess.shared_files import Locations, shared
from components.shared.artifacts import atomic_directory, file_sha256, read_json, write_json
from components.shared.champion_statistics import ChampionStatistics
from components.shared.config import PreprocessConfig
from components.shared.data_checks import require, to_json
from components.shared.features import STATISTICS_FILE, VOCABULARY_FILE, Features
from components.shared.reviews import TRAIN, VALIDATION, split_shards, split_sizes


def preprocess(
    reviews: str | Path,
    config: PreprocessConfig,
    examples: str | Path,
    vocabulary: str | Path,
    statistics: str | Path,
    champion_statistics: str | Path | None = None,
) -> dict[str, Any]:
    """Tokenizes, counts over train, cuts the vocabulary, encodes and writes every split.

    The same reviews give the same bytes, whichever runner and however many workers.

    Args:
        reviews: the prepared TFDS data set that ingest wrote.
        config: how to encode, and Beam's options.
        examples: the folder to make with the TFRecords, see `components.shared.features`.
        vocabulary: the folder to make with `vocabulary.txt`, a token a line.
        statistics: the folder to make with `statistics.json`.
        champion_statistics: the folder that `save_champion_statistics` made; None for no champion.

    Returns:
        The statistics: by split `rows`, `labels`, `length_quantiles` (tokens),
        `out_of_vocabulary_rate`, `empty_reviews`, `duplicate_reviews`; `vocabulary_size`; and
        `checks`, what each data check found.

    Raises:
        InputError: the reviews are missing or corrupt, or fail a data check, or Beam refuses its
            options.
    """
    champion = ChampionStatistics.load(champion_statistics)
    splits = split_sizes(reviews)
    files = {split: [str(file) for file in split_shards(reviews, split)] for split in splits}
    pipeline = new_pipeline(config)
    with (
        atomic_directory(statistics) as statistics_dir,
        atomic_directory(vocabulary) as vocabulary_dir,
        atomic_directory(examples) as examples_dir,
    ):
        outputs = map(str, (examples_dir, vocabulary_dir, statistics_dir))
        with (
            shared(Locations(files, *outputs), config.beam_shared_dir) as locations,
            running(pipeline, config),
        ):
            _build(pipeline, locations, config, champion.vocabulary)
        summary = read_json(statistics_dir / STATISTICS_FILE)
        summary["checks"] = _checked(str(reviews), summary["splits"], champion, config)
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


def _checked(
    name: str, splits: dict[str, Any], champion: ChampionStatistics, config: PreprocessConfig
) -> list[dict[str, Any]]:
    """What the data checks found; takes from the splits what depends on the champion."""
    unknown = {split: part.pop("unknown_to_champion_rate") for split, part in splits.items()}
    checks = check_drift(splits, unknown.get(VALIDATION), champion, config)
    require(name, checks)
    return to_json(checks)


def _build(
    pipeline: beam.Pipeline,
    locations: Locations,
    config: PreprocessConfig,
    champion_vocabulary: frozenset[bytes],
) -> None:
    """Adds all the transforms to an empty pipeline."""
    files = [
        transforms.ReviewFile(split, location, place, len(locations_of_split)).to_element()
        for split, locations_of_split in locations.reviews.items()
        for place, location in enumerate(locations_of_split)
    ]
    create = beam.Create(files, reshuffle=False).with_output_types(transforms.FileElement)
    sources = pipeline | "Files" >> create | "Spread" >> transforms.Spread()
    # Train is read once more to count it: to keep its reviews until the vocabulary is known would
    # take as much memory as there are.
    vocabulary = (
        sources
        | "Train" >> beam.Filter(transforms.is_of, TRAIN)
        | "Count" >> beam.ParDo(transforms.CountTokens())
        | "Counts" >> beam.GroupByKey()
        | "Cut" >> beam.Map(transforms.cut_vocabulary, config.vocabulary_size)
    )
    vocabulary_file = f"{locations.vocabulary}/{VOCABULARY_FILE}"
    _ = vocabulary | "WriteVocabulary" >> beam.Map(transforms.write_vocabulary, vocabulary_file)
    encode = transforms.Encode(config, locations.examples, champion_vocabulary)
    statistics_file = f"{locations.statistics}/{STATISTICS_FILE}"
    _ = (
        sources
        | "Encode" >> beam.ParDo(encode, beam.pvalue.AsSingleton(vocabulary))
        | "Statistics" >> beam.GroupByKey()
        | "WriteStatistics" >> beam.Map(transforms.write_statistics, statistics_file)
    )


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
