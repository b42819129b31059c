"""What new reviews are held against before training: the champion's statistics and vocabulary.

    champion_statistics.json    {"version": 3, "statistics": {...}}, both null without a champion
    vocabulary.txt              a token a line, where there are statistics

Preprocess reads no registry: it stays a function of its inputs, of which this folder is one.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from components.shared.artifacts import atomic_directory, read_json, write_json
from components.shared.errors import InputError
from components.shared.registry.registry import Registry
from components.shared.reviews import TRAIN, VALIDATION

_FILE = "champion_statistics.json"
_VOCABULARY_FILE = "vocabulary.txt"
_SPECIAL_TOKENS = 2


def recorded_statistics(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """What the registry keeps of `statistics.json`: all but that of reviews not trained on."""
    splits = {split: statistics["splits"].get(split) for split in (TRAIN, VALIDATION)}
    return {"vocabulary_size": statistics["vocabulary_size"], "splits": splits}


def save_champion_statistics(serving_dir: str | Path, output_dir: str | Path) -> None:
    """Copies the statistics and the vocabulary of the champion out of its registry.

    Args:
        serving_dir: the registry, a local path or a URL; there may be no champion in it.
        output_dir: the folder to make.

    Raises:
        InputError: the registry can't be read, or the champion's files aren't as published.
    """
    registry = Registry.open(serving_dir)
    entry = registry.champion()
    statistics = entry.statistics if entry is not None else None
    with atomic_directory(output_dir) as folder:
        if entry is not None and statistics is not None:
            with tempfile.TemporaryDirectory() as scratch:
                saved_model = registry.fetch(entry.version, scratch)
                shutil.copyfile(
                    saved_model / "assets" / _VOCABULARY_FILE, folder / _VOCABULARY_FILE
                )
        version = entry.version if entry is not None else None
        write_json(folder / _FILE, {"version": version, "statistics": statistics})


@dataclass(frozen=True, kw_only=True, slots=True)
class ChampionStatistics:
    """The champion as preprocess sees it."""

    version: int | None = None
    """None where there is no champion."""

    statistics: Mapping[str, Any] | None = None
    """What `recorded_statistics` gave when it was promoted; None where it wasn't recorded."""

    vocabulary: frozenset[bytes] = frozenset()
    """The tokens that it knows, without the special ones."""

    @classmethod
    def load(cls, directory: str | Path | None) -> Self:
        """Reads what `save_champion_statistics` wrote; None stands for no champion.

        Raises:
            InputError: the folder holds something else.
        """
        if directory is None:
            return cls()
        values = read_json(Path(directory) / _FILE)
        try:
            version, statistics = values["version"], values["statistics"]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{directory}: no statistics of a champion; run ingest anew"
            ) from error
        vocabulary: list[bytes] = []
        if statistics is not None:
            content = (Path(directory) / _VOCABULARY_FILE).read_bytes()
            vocabulary = content.splitlines()[_SPECIAL_TOKENS:]
        return cls(version=version, statistics=statistics, vocabulary=frozenset(vocabulary))
