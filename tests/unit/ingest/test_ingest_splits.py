"""Splits and fingerprint follow from the texts alone."""

from hypothesis import given
from hypothesis import strategies as st

from components.ingest.splits import Entry, carve, fingerprint, text_digest, text_share

texts = st.lists(st.text().map(str.encode), max_size=30)
rows = st.lists(st.tuples(st.binary(max_size=3), st.sampled_from([0, 1])), max_size=12)


def entries(reviews: list[tuple[bytes, int]]) -> list[Entry]:
    """Entries as they come of a spool in which the reviews stand one after the other."""
    return [
        Entry(text_digest(text), label, i, len(text)) for i, (text, label) in enumerate(reviews)
    ]


@given(texts, texts, st.sampled_from(["test", "validation"]))
def test_a_text_is_carved_whatever_stands_beside_it(here, there, purpose):
    ours, theirs = ({text_digest(text) for text in side} for side in (here, there))
    picked = {d for d in ours | theirs if text_share(d, purpose) < 0.3}
    for digests in (ours, theirs):
        # A set of which nothing would be carved gives one of its texts, the first by share.
        first = sorted(digests, key=lambda d: text_share(d, purpose))[:1]
        assert carve(digests, 0.3, purpose) == (digests & picked or set(first))


def test_fractions_are_about_right_and_independent():
    digests = {text_digest(b"review %d" % number) for number in range(20_000)}
    test = carve(digests, 0.2, "test")
    validation = carve(digests, 0.1, "validation")
    assert abs(len(test) - 4000) < 200
    assert abs(len(validation) - 2000) < 150
    assert abs(len(test & validation) - 400) < 80


@given(st.dictionaries(st.sampled_from(["train", "test"]), rows), st.randoms())
def test_fingerprint_does_not_depend_on_order(official, random):
    before = fingerprint({split: entries(reviews) for split, reviews in official.items()})
    shuffled = {split: random.sample(reviews, len(reviews)) for split, reviews in official.items()}
    after = fingerprint(
        {split: entries(reviews) for split, reviews in reversed(list(shuffled.items()))}
    )
    assert before == after


def test_fingerprint_tells_content_apart():
    variants = [
        {"train": [(b"a", 0), (b"b", 1)], "test": []},
        {"train": [(b"a", 1), (b"b", 0)], "test": []},
        {"train": [(b"a", 0)], "test": [(b"b", 1)]},
        {"train": [(b"a", 0), (b"b", 1), (b"b", 1)], "test": []},
        {"train": [(b"a", 0), (b"c", 1)], "test": []},
    ]
    prints = {fingerprint({s: entries(r) for s, r in variant.items()}) for variant in variants}
    assert len(prints) == len(variants)
