"""Reading what `ingest` wrote."""

import pytest

from components.shared import reviews
from components.shared.errors import InputError


def test_not_a_data_set(tmp_path):
    with pytest.raises(InputError, match="holds no prepared reviews"):
        reviews.split_sizes(tmp_path)


def test_damaged(corpus):
    corpus.ingest(corpus.archive(corpus.files()))
    with pytest.raises(InputError, match="no split 'unsupervised'; it has train, validation, test"):
        reviews.split_shards(corpus.output, "unsupervised")
    (shard,) = reviews.split_shards(corpus.output, "test")
    shard.unlink()
    with pytest.raises(InputError, match="the file is missing"):
        reviews.split_shards(corpus.output, "test")
    (shard.parent / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match="damaged data set"):
        reviews.split_sizes(corpus.output)
