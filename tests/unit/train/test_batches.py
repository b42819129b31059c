"""The order of training: every row in its turn, in few shapes, from the seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import Examples
from components.train.batches import (
    bucket_lengths,
    epoch_plan,
    evaluation_batches,
    global_batch_size,
    pad,
)
from components.train.ngrams import commonest_ngrams

_LENGTHS = st.lists(st.integers(1, 50), min_size=8, max_size=200).map(np.array)


def make(rows: list[list[int]]) -> Examples:
    offsets = np.cumsum([0, *map(len, rows)])
    flat = np.array([token for row in rows for token in row], np.int32)
    return Examples(flat, offsets, np.arange(len(rows), dtype=np.int32) % 2)


@given(_LENGTHS, st.integers(1, 8), st.integers(0, 9), st.integers(1, 5))
def test_an_epoch_takes_full_batches_of_rows_that_fit_and_leaves_out_less_than_one(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int
) -> None:
    buckets = bucket_lengths(lengths, 50)
    plan = epoch_plan(lengths, buckets, batch_size, seed, epoch)
    rows = np.concatenate([batch for _, batch in plan])
    assert len(set(rows.tolist())) == len(rows) > len(lengths) - batch_size
    for length, batch in plan:
        assert len(batch) == batch_size and length in buckets and lengths[batch].max() <= length
    again = epoch_plan(lengths, buckets, batch_size, seed, epoch)
    assert all((a == b).all() for (_, a), (_, b) in zip(plan, again, strict=True))


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    lengths = np.full(100, 5)
    orders = {
        tuple(np.concatenate([b for _, b in epoch_plan(lengths, [8], 10, seed, epoch)]).tolist())
        for seed in range(3)
        for epoch in range(1, 4)
    }
    assert len(orders) == 9


@given(_LENGTHS, st.integers(50, 64))
def test_buckets_are_few_and_hold_every_length(lengths: np.ndarray, max_length: int) -> None:
    buckets = bucket_lengths(lengths, max_length)
    assert len(buckets) <= 4 and buckets == sorted(set(buckets))
    assert lengths.max() <= buckets[-1] <= max_length


def test_there_are_fewer_buckets_where_a_shape_costs_more_than_padding() -> None:
    lengths = np.arange(1, 401)
    four = bucket_lengths(lengths, 400)
    assert four == [104, 208, 304, 400]
    # Over 500 batches four shapes save 148 of 400 steps a batch, two 100.
    assert bucket_lengths(lengths, 400, batches=500, shape_cost=100_000) == [400]
    assert bucket_lengths(lengths, 400, batches=500, shape_cost=30_000) == [208, 400]
    assert bucket_lengths(lengths, 400, batches=500, shape_cost=100) == four
    assert bucket_lengths(lengths, 400, batches=50_000, shape_cost=100_000) == four


@pytest.mark.parametrize(("replicas", "size"), [(1, 128), (2, 128), (3, 126), (8, 128), (128, 128)])
def test_a_batch_stays_whatever_the_replicas(replicas: int, size: int) -> None:
    assert global_batch_size(TrainConfig(batch_size=128), replicas) == size


def test_a_batch_grows_with_the_replicas_where_it_is_set_for_each() -> None:
    config = TrainConfig.from_mapping({"per_replica_batch_size": "64"})
    assert [global_batch_size(config, replicas) for replicas in (1, 3)] == [64, 192]


def test_more_replicas_than_reviews_in_a_batch_are_refused() -> None:
    with pytest.raises(InputError, match="batch_size=4: fewer reviews than the 8 replicas"):
        global_batch_size(TrainConfig(batch_size=4), 8)


def test_too_few_examples_for_a_batch_are_refused() -> None:
    with pytest.raises(
        InputError, match="a batch takes 64 examples over all replicas, and train has 9"
    ):
        epoch_plan(np.full(9, 3), [8], 64, 0, 1)


def test_evaluation_sees_each_row_once_with_weight_one() -> None:
    examples = make([[i + 2] * (i % 7 + 1) for i in range(45)])
    batches = list(evaluation_batches(examples, [4, 8], 8, pad_left=False))
    assert all(batch.token_ids.shape in {(8, 4), (8, 8)} for batch in batches)
    seen = [row[0] for b in batches for row, w in zip(b.token_ids, b.weights, strict=True) if w]
    assert sorted(seen) == [i + 2 for i in range(45)]


def test_padding_goes_to_the_side_asked_for() -> None:
    examples = make([[5, 6], [7]])
    assert pad(examples, np.array([1, 0]), 3, pad_left=False).token_ids.tolist() == [
        [7, 0, 0],
        [5, 6, 0],
    ]
    assert pad(examples, np.array([1, 0]), 3, pad_left=True).token_ids.tolist() == [
        [0, 0, 7],
        [0, 5, 6],
    ]


def test_the_commonest_pairs_are_kept_without_those_across_reviews() -> None:
    rows = [[2, 3, 4], [2, 3, 1], [3, 4], [5, 2], [2, 6], [2, 6, 3]]
    # (2, 3) twice, (3, 4) twice, (2, 6) twice; <unk> is in no pair; others occur once.
    assert commonest_ngrams(make(rows), 10, [2], 99).tolist() == [23, 26, 34]
    assert commonest_ngrams(make(rows), 10, [2], 2).tolist() == [23, 26]
    assert commonest_ngrams(make(rows), 10, [2], 0).tolist() == []
    # 2 five times, 3 four times; 4, 6 and the pairs twice.
    assert commonest_ngrams(make(rows), 10, [1, 2], 5).tolist() == [2, 3, 4, 6, 23]
