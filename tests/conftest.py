"""Reviews that are made up for the tests, and what the first tasks make of them."""

import os
import random
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# TensorFlow reads it when it is first imported; its start-up notes would bury a failure.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# What gRPC does after a fork may end the process, and Beam's tests leave gRPC behind.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# A shell starts what it puts in the background with SIGINT ignored, nohup with SIGHUP; so would be
# what the tests start, and signals are a part of what is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes, and to make one up, is the machine's business.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


class _ByFile(LoadScopeScheduling):
    """Gives each worker files, whose tests share what they set up; those of containers an image."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "containers" if file.startswith("tests/containers/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where several processes share the tests."""
    return _ByFile(config, log)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Gives the tests, and what they start, a cache of compiled code of their own."""
    if not hasattr(config, "workerinput"):  # A worker has that of the process that started it.
        folder = tempfile.TemporaryDirectory(prefix="imdb-pipeline-tests-")
        os.environ["XDG_CACHE_HOME"] = folder.name
        config.add_cleanup(folder.cleanup)


_GOOD = "delightful superb moving witty radiant masterful charming gripping".split()
_BAD = "tedious dreadful clumsy lifeless shallow grating muddled insipid".split()
_NEUTRAL = "the film plot a and scene actor of director camera is was with music an it".split()
_NAMES = "anna bruno carla dmitri elena farid greta hugo ines jonas".split()


def _review(draw: random.Random, positive: bool, noise: float) -> str:
    """Neutral words and a few that tell the label, the wrong one with chance `noise`."""
    mine, other = (_GOOD, _BAD) if positive else (_BAD, _GOOD)
    words = draw.choices(_NEUTRAL + _NAMES, k=draw.randint(8, 60))
    for _ in range(draw.randint(1, 4)):
        words.insert(
            draw.randrange(len(words)), draw.choice(other if draw.random() < noise else mine)
        )
    return " ".join(words).capitalize() + draw.choice([".", "!", "?!", " <br /><br />", ""])


@pytest.fixture(scope="session")
def write_reviews() -> Callable[..., Path]:
    """`write_reviews(folder, per_class, noise=0.1, unlabelled=0, seed=0)`: a folder in aclImdb's
    layout with so many made-up reviews in each class of each split."""

    def write(
        folder: Path, per_class: int, noise: float = 0.1, unlabelled: int = 0, seed: int = 0
    ) -> Path:
        draw = random.Random(seed)
        for split in ("train", "test"):
            for name in ("neg", "pos", "unsup")[: 3 if split == "train" and unlabelled else 2]:
                (folder / split / name).mkdir(parents=True)
                for i in range(unlabelled if name == "unsup" else per_class):
                    text = _review(
                        draw, draw.random() < 0.5 if name == "unsup" else name == "pos", noise
                    )
                    (folder / split / name / f"{i}_{5}.txt").write_text(f"{text} {split}{name}{i}")
        return folder

    return write


@dataclass(frozen=True)
class Prepared:
    """What ingest and preprocess made of made-up reviews."""

    reviews: Path
    examples: Path
    vocabulary: Path
    statistics: Path


@pytest.fixture(scope="session")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, write_reviews: Callable[..., Path]
) -> Prepared:
    """400 labelled reviews a split and 50 unlabelled, encoded with a vocabulary of 60 tokens."""
    from components.ingest.ingest import ingest
    from components.preprocess.preprocess import preprocess
    from components.shared.config import IngestConfig, PreprocessConfig

    root = tmp_path_factory.mktemp("prepared")
    source = write_reviews(root / "source", per_class=200, unlabelled=50)
    made = Prepared(*(root / name for name in ("reviews", "examples", "vocabulary", "statistics")))
    ingest(str(source), IngestConfig(), made.reviews)
    config = PreprocessConfig(vocabulary_size=60, max_length=32)
    preprocess(made.reviews, config, made.examples, made.vocabulary, made.statistics)
    return made
