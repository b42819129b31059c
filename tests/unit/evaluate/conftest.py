"""Reviews made up for the tests, and small models with the serving signature."""

import random
from pathlib import Path

import pytest
import tensorflow as tf

from components.ingest.ingest import ingest
from components.shared.config import IngestConfig

GOOD, BAD = ("superb", "moving", "witty"), ("dreary", "clumsy", "stale")
_NEUTRAL = ("the", "plot", "camera", "actor", "scene", "score", "director", "a", "of", "night")

PLANTED = (
    "<script>document.title = 'planted'</script><img src=x onerror=\"document.title='planted'\">"
    "<svg onload=\"document.title='planted'\"></svg></blockquote><h1>planted</h1>"
)


class WordCounter(tf.Module):
    """Says positive where a review has more good words than bad ones."""

    def __init__(self, good: tuple[str, ...], bad: tuple[str, ...], scale: float = 1.0) -> None:
        super().__init__()
        self.good, self.bad, self.scale = good, bad, tf.Variable(scale)

    def probability(self, text: tf.Tensor) -> tf.Tensor:
        words = tf.strings.split(text)
        good = tf.reduce_any(words[..., None] == tf.constant(self.good), axis=-1)
        bad = tf.reduce_any(words[..., None] == tf.constant(self.bad), axis=-1)
        difference = tf.cast(good, tf.float32) - tf.cast(bad, tf.float32)
        return tf.sigmoid(self.scale * (tf.reduce_sum(difference, axis=1) + 0.25))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        probability = self.probability(text)
        return {"probability": probability, "label": tf.cast(probability >= 0.5, tf.int64)}


class NotANumber(WordCounter):
    """Gives NaN for any review in which a word stands."""

    def probability(self, text: tf.Tensor) -> tf.Tensor:
        probability = super().probability(text)
        hit = tf.strings.regex_full_match(text, r"(?s).*\bcamera\b.*")
        return tf.where(hit, float("nan"), probability)


def save(
    module: tf.Module, path: Path, function: tf.types.experimental.PolymorphicFunction
) -> Path:
    tf.saved_model.save(module, str(path), signatures={"serving_default": function})
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Candidates: one that knows every word, one that knows few, one that gives NaN."""
    folder = tmp_path_factory.mktemp("models")
    modules = {
        "able": WordCounter(GOOD, BAD),
        "weak": WordCounter(GOOD[:1], BAD[:1]),
        "nan": NotANumber(GOOD, BAD),
    }
    return {name: save(module, folder / name, module.serve) for name, module in modules.items()}


def made_up_review(draw: random.Random, positive: bool) -> str:
    """Mostly words of its own side, so that counting words is right nine times in ten."""
    side, other = (GOOD, BAD) if positive else (BAD, GOOD)
    opinion = draw.choices(side if draw.random() < 0.9 else other, k=draw.randint(1, 3))
    words = opinion + draw.choices(_NEUTRAL, k=draw.randint(3, 60))
    draw.shuffle(words)
    return " ".join(words)


@pytest.fixture(scope="session")
def reviews_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 test and 200 train reviews, prepared; one of test misleads, with markup planted in it."""
    folder, draw = tmp_path_factory.mktemp("aclImdb"), random.Random(7)
    for split, count in (("train", 100), ("test", 150)):
        for name, positive in (("neg", False), ("pos", True)):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                path = folder / split / name / f"{number}_5.txt"
                path.write_text(f"{made_up_review(draw, positive)}<br />{split} {name} {number}")
    misleading = f"{PLANTED} {' superb' * 9} {'and so on ' * 60}"
    (folder / "test" / "neg" / "0_5.txt").write_text(misleading)
    output = tmp_path_factory.mktemp("prepared") / "reviews"
    ingest(str(folder), IngestConfig(), output)
    return output
