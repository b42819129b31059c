"""What a sweep searches, as it is given on a command line, and the trials that are drawn of it."""

import pytest

from components.shared.config import TrainConfig
from components.shared.errors import InputError
from pipeline.config import preset
from pipeline.sweep.space import parse_space, sample, trials

CONFIG = preset("debug")


def drawn(*texts: str, count: int = 20, seed: int = 0) -> list[dict[str, object]]:
    return sample(parse_space(texts, CONFIG), count, seed)


def test_lists_make_a_grid_each_combination_of_which_is_tried_once() -> None:
    found = drawn("hidden_size=16,32,64", "clip_norm=none,1", "skip_connection=true,no")
    assert len(found) == 12 == len({tuple(values.values()) for values in found})
    assert {values["clip_norm"] for values in found} == {None, 1.0}
    assert all(type(values["skip_connection"]) is bool for values in found)
    assert len(drawn("hidden_size=16,32,64", "num_epochs=1,2", count=4)) == 4


def test_ranges_are_drawn_from_evenly_or_by_the_logarithm() -> None:
    found = drawn("learning_rate=1e-4..1e-2:log", "dropout_rate=0.1..0.5", "hidden_size=1..64",
                  count=200)  # fmt: skip
    rates = [float(str(values["learning_rate"])) for values in found]
    assert min(rates) >= 1e-4 and max(rates) <= 1e-2 and 70 < sum(r < 1e-3 for r in rates) < 130
    drops = [float(str(values["dropout_rate"])) for values in found]
    assert min(drops) >= 0.1 and max(drops) <= 0.5 and 70 < sum(d < 0.3 for d in drops) < 130
    assert all(type(values["hidden_size"]) is int for values in found)
    # Short enough to be given again.
    assert all(len(str(rate)) <= 8 for rate in rates)


def test_no_two_trials_are_alike_even_where_a_range_has_too_few() -> None:
    assert sorted(str(v["num_epochs"]) for v in drawn("num_epochs=1..3", count=9)) == list("123")


def test_the_same_seed_draws_the_same_trials() -> None:
    for texts in (["hidden_size=1,2,3,4,5,6"], ["hidden_size=1..6", "learning_rate=1e-4..1e-2"]):
        assert drawn(*texts, count=5, seed=7) == drawn(*texts, count=5, seed=7)
        assert drawn(*texts, count=5, seed=7) != drawn(*texts, count=5, seed=8)


def test_a_trial_is_the_configuration_with_the_values_in_their_place() -> None:
    (first, second) = trials([{"hidden_size": 3}, {"hidden_size": 5}], CONFIG.train)
    assert (first["number"], second["number"]) == (0, 1) and first["searched"] == ["hidden_size"]
    expected = {**CONFIG.train.to_mapping(), "hidden_size": 5}
    assert TrainConfig.from_mapping(second["config"]).to_mapping() == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["hidden_size"], "--search 'hidden_size': must be KEY=VALUE,VALUE,... or KEY=LOW..HIGH"),
        (["hiden_size=1,2"], "'hiden_size': unknown configuration key; did you mean 'hidden_size'"),
        (["max_length=1,2"], "max_length: is a key of preprocess; only those of train"),
        (["hidden_size=1,2", "hidden_size=3..4"], "hidden_size: is there twice"),
        (["hidden_size=16"], "hidden_size=16: must be two values or more; --set gives one"),
        (["hidden_size=16,16"], "must be two values or more"),
        (["hidden_size=16,big"], "hidden_size=big: must be a whole number"),
        (["hidden_size=16,"], "hidden_size=: must be a whole number"),
        (["hidden_size=16,9999"], "hidden_size=9999: out of range; it must be from 1 to 4096"),
        (["cell=lstm,rnn"], "cell=rnn: must be one of simple_rnn, lstm, gru"),
        (["cell=gru..lstm"], "cell=gru..lstm: a range is of numbers; list the values"),
        (["skip_connection=0..1"], "a range is of numbers"),
        (["dropout_rate=0.1..1.5"], "dropout_rate=1.5: out of range"),
        (["dropout_rate=0.5..0.1"], "must be two numbers, the lesser one first"),
        (["clip_norm=none..1"], "must be two numbers"),
        (["dropout_rate=0..0.5:log"], "a range with :log must begin above 0"),
        (["learning_rate=1e-4..1e-2:lin"], "learning_rate=1e-2:lin: must be a number"),
    ],
)
def test_a_search_that_cannot_be_is_named(texts: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_space(texts, CONFIG)
    assert message in str(caught.value) and "\n" not in str(caught.value)
