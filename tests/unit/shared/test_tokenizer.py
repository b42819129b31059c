"""The tokenizer and the encoder."""

import re
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.tokenizer import SPECIAL_TOKENS, TextEncoder, tokenize


def tokens(text: str | bytes) -> list[str]:
    return [token.decode() for token in tokenize(tf.constant([text]))[0].numpy()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Loved it.<br /><br />Really", ["loved", "it", "really"]),
        ("ÜBER-Größe ÉTÉ ΣΟΦΟΣ", ["über", "größe", "été", "σοφος"]),
        (
            "Don't say 'rock'n'roll', it’s ''quoted''",
            ["don't", "say", "rock'n'roll", "it's", "quoted"],
        ),
        ("What?! 7/10...", ["what", "?", "!", "7", "10"]),
        ("so 😀👍", ["so", "😀", "👍"]),
        ("日本語 テスト", ["日本語", "テスト"]),
        ("nul\0inside\ttab", ["nul", "inside", "tab"]),
        (b"bad \xff\xfe bytes \xc3", ["bad", "bytes"]),
        ("<pad> and <unk>", ["and"]),
        ("a < b > c", ["a", "c"]),
        ("3 < 4", ["3", "4"]),
        ("", ["<unk>"]),
        (" ... '' <br /> ", ["<unk>"]),
    ],
)
def test_tokenize_splits_as_documented(text: str | bytes, expected: list[str]) -> None:
    assert tokens(text) == expected


@settings(max_examples=150)
@given(st.lists(st.one_of(st.text(), st.binary()), min_size=1, max_size=5))
def test_every_text_has_a_token_and_no_token_has_a_separator(texts: list[str | bytes]) -> None:
    encoded = [
        text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in texts
    ]
    rows = tokenize(tf.constant(encoded)).to_list()
    assert len(rows) == len(texts)
    for row, text in zip(rows, encoded, strict=True):
        assert row
        assert all(token and not re.search(r"\s", token.decode()) for token in row)
        assert row == [b"<unk>"] or not {b"<unk>", b"<pad>"} & set(row)
        # A text is tokenized alike whatever stands beside it in the batch.
        assert tokenize(tf.constant([text])).to_list() == [row]


@settings(max_examples=100)
@given(st.text())
def test_tokens_tokenize_to_themselves(text: str) -> None:
    once = tokens(text.encode("utf-8", "surrogatepass"))
    again = tokens(" ".join(once).encode())
    assert again == once


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, *(f"w{i}" for i in range(20))]) + "\n")
    return path


@pytest.mark.parametrize(
    ("truncating", "expected"),
    [("pre", range(14, 20)), ("post", range(6)), ("middle", [0, 1, 16, 17, 18, 19])],
)
def test_encoder_keeps_what_truncating_says(vocabulary, truncating, expected) -> None:
    encoder = TextEncoder(vocabulary, 6, truncating)
    text = " ".join(f"w{i}" for i in range(20))
    assert encoder(tf.constant([text])).to_list() == [[i + 2 for i in expected]]


@pytest.mark.parametrize("truncating", ["pre", "post", "middle"])
@pytest.mark.parametrize("length", [1, 5, 6])
def test_encoder_keeps_a_short_review_whole(vocabulary, truncating, length) -> None:
    encoder = TextEncoder(vocabulary, 6, truncating)
    text = " ".join(f"w{i}" for i in range(length))
    assert encoder(tf.constant([text])).to_list() == [[i + 2 for i in range(length)]]


def test_encoder_gives_unknown_tokens_the_id_1(vocabulary) -> None:
    encoder = TextEncoder(vocabulary, 6, "post")
    assert encoder(tf.constant(["w0 nobody w1", ""])).to_list() == [[2, 1, 3], [1]]
