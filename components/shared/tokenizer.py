"""The one tokenizer: TensorFlow ops that run in the Beam workers and inside the SavedModel."""

from pathlib import Path
from typing import Literal

import tensorflow as tf

from components.shared.artifacts import file_sha256

PAD = "<pad>"
UNK = "<unk>"
PAD_ID = 0
UNK_ID = 1
SPECIAL_TOKENS = (PAD, UNK)

Truncating = Literal["pre", "post", "middle"]

_PRINTABLE_ASCII = r"[ -~]*"
_TAG = r"<[^<>]{0,200}>"
_APOSTROPHE = r"[\x{2018}\x{2019}\x{02BC}]"
# A single space stays as it is: most separators are one, and each replacement costs.
_SEPARATORS = r"[^\p{L}\p{M}\p{N}\p{So}!?' ]+"
_SYMBOL = r"[\p{So}!?]"


def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits reviews into lower-case tokens.

    A token is a run of letters, marks and digits of any script, with the apostrophes inside it, or
    a single `!`, `?` or symbol (emoji among them); HTML tags, invalid UTF-8 and all else separate
    tokens. A review without any token gets a single `<unk>`, which no text can spell.

    Args:
        texts: string `[batch]`.

    Returns:
        string `[batch, None]`, at least one token in each row.
    """
    texts = _printable(texts)
    texts = tf.strings.lower(texts, encoding="utf-8")
    texts = tf.strings.regex_replace(texts, _TAG, " ")
    texts = tf.strings.regex_replace(texts, _APOSTROPHE, "'")
    texts = tf.strings.regex_replace(texts, _SEPARATORS, " ")
    texts = tf.strings.regex_replace(texts, _SYMBOL, r" \0 ")
    # Apostrophes at either end of a word are quotation marks.
    texts = tf.strings.regex_replace(texts, r"(^| )'+", " ")
    texts = tf.strings.regex_replace(texts, r"'+( |$)", " ")
    texts = tf.strings.strip(texts)
    texts = tf.where(tf.equal(texts, ""), UNK, texts)
    return tf.strings.split(texts)


def _printable(texts: tf.Tensor) -> tf.Tensor:
    """Spaces for control characters, as `lower` cuts a string off at a NUL, and invalid UTF-8.

    That takes as long as all else; nine reviews of ten are of printable ASCII and are left out.
    """
    rows = tf.where(~tf.strings.regex_full_match(texts, _PRINTABLE_ASCII))
    printable = tf.strings.unicode_transcode(
        tf.gather_nd(texts, rows),
        "UTF-8",
        "UTF-8",
        errors="replace",
        replacement_char=ord(" "),
        replace_control_characters=True,
    )
    return tf.tensor_scatter_nd_update(texts, rows, printable)


class _VocabularyInitializer(tf.lookup.TextFileInitializer):
    """Reads the lines of a vocabulary, line n as the token with id n."""

    def __init__(self, vocabulary: str | Path) -> None:
        self._digest = file_sha256(vocabulary)
        super().__init__(
            str(vocabulary),
            key_dtype=tf.string,
            key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
            value_dtype=tf.int64,
            value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
        )

    @property
    def _shared_name(self) -> str:
        # TensorFlow would name the table by the path of the file, and a SavedModel keeps the name:
        # equal models would differ. Tables of one name are one table, so it tells contents apart.
        return f"vocabulary_{self._digest}"


class TextEncoder(tf.Module):
    """Turns reviews into token ids, by the lines of a vocabulary file.

    Args:
        vocabulary: path of a `vocabulary.txt`; line n holds the token with id n, the first two
            being `<pad>` and `<unk>`.
        max_length: the number of tokens kept of a review.
        truncating: what of a longer review is cut off: its beginning ("pre") or end ("post"), as
            in Keras's `pad_sequences`, or all but its first third and last two thirds ("middle").
    """

    def __init__(self, vocabulary: str | Path, max_length: int, truncating: Truncating) -> None:
        super().__init__(name="text_encoder")
        self.max_length = max_length
        self.truncating = truncating
        self.table = tf.lookup.StaticHashTable(
            _VocabularyInitializer(vocabulary), default_value=UNK_ID
        )

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Encodes string `[batch]` as int64 `[batch, None]`, 1 to `max_length` ids a row."""
        return self.cut(self.lookup(tokenize(texts)))

    def lookup(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """The id of each token; a token that the vocabulary lacks has that of `<unk>`."""
        return tf.ragged.map_flat_values(self.table.lookup, tokens)

    def cut(self, token_ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Keeps at most `max_length` ids of each row."""
        if self.truncating == "pre":
            return token_ids[:, -self.max_length :]
        if self.truncating == "post":
            return token_ids[:, : self.max_length]
        head = self.max_length // 3
        tail = self.max_length - head
        return tf.concat([token_ids[:, :head], token_ids[:, head:][:, -tail:]], axis=1)
