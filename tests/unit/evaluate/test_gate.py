"""The gate: every check at its edge, and properties that hold for any figures."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.evaluate import gate
from components.evaluate.checks import CHECKS, Reason
from components.evaluate.evidence import BestEver, ChampionComparison, Evidence, Slice
from components.evaluate.gate import Decision, decide
from components.shared.config import EvaluateConfig

GOOD = {"accuracy": 0.9, "loss": 0.3, "auc": 0.95, "expected_calibration_error": 0.02}
NO_CHANGE_THRESHOLDS = EvaluateConfig(
    significance_level=None,
    max_accuracy_drop=None,
    max_slice_accuracy_drop=None,
    max_accuracy_below_best=None,
)
BAR = replace(NO_CHANGE_THRESHOLDS, min_accuracy=0.8)
VALUE_THRESHOLDS = (
    "min_accuracy",
    "max_loss",
    "min_auc",
    "min_slice_accuracy",
    "min_accuracy_over_baseline",
)


def champion(accuracy: float = 0.9, losses: int = 0, gains: int = 0) -> ChampionComparison:
    return ChampionComparison(version=3, accuracy=accuracy, losses=losses, gains=gains)


def part(accuracy: float | None, champion: float | None = None, name: str = "a") -> Slice:
    return Slice(name=name, reviews=100, accuracy=accuracy, champion_accuracy=champion)


def reason(decision: Decision, name: str) -> Reason:
    return next(reason for reason in decision.reasons if reason.name == name)


@pytest.mark.parametrize(
    ("config", "name", "metrics", "blessed"),
    [
        (EvaluateConfig(min_accuracy=0.87), "min_accuracy", {"accuracy": 0.87}, True),
        (EvaluateConfig(min_accuracy=0.87), "min_accuracy", {"accuracy": 0.8699}, False),
        (EvaluateConfig(max_loss=0.4), "max_loss", {"loss": 0.4}, True),
        (EvaluateConfig(max_loss=0.4), "max_loss", {"loss": 0.4001}, False),
        (EvaluateConfig(min_auc=0.9), "min_auc", {"auc": 0.9}, True),
        (EvaluateConfig(min_auc=0.9), "min_auc", {"auc": 0.89}, False),
        (EvaluateConfig(min_auc=0.9), "min_auc", {"auc": None}, False),
        (EvaluateConfig(min_auc=0.9), "min_auc", {}, False),
    ],
)
def test_value_thresholds_include_their_edge(config, name, metrics, blessed) -> None:
    decision = decide(Evidence(metrics=metrics), config)
    assert decision.blessed is blessed
    found = reason(decision, name)
    assert found.passed is blessed
    assert found.threshold == getattr(config, name)
    if isinstance(found.value, float) and math.isfinite(found.value):
        assert found.value == next(iter(metrics.values()))


@pytest.mark.parametrize(
    ("name", "threshold", "figures", "passed"),
    [
        ("max_calibration_error", 0.05, {"calibration": 0.05}, True),
        ("max_calibration_error", 0.05, {"calibration": 0.0501}, False),
        ("max_calibration_error", 0.05, {"calibration": None}, False),
        ("max_latency_ms", 20.0, {"latency_ms": 20.0}, True),
        ("max_latency_ms", 20.0, {"latency_ms": 20.1}, False),
        ("max_latency_ms", 20.0, {"latency_ms": None}, False),
        ("min_slice_accuracy", 0.8, {"slices": [part(0.8), part(0.9)]}, True),
        ("min_slice_accuracy", 0.8, {"slices": [part(0.9), part(0.79, name="b")]}, False),
        ("min_slice_accuracy", 0.8, {"slices": [part(0.9), part(None, name="b")]}, False),
        ("min_slice_accuracy", 0.8, {"slices": []}, False),
    ],
)
def test_bounds_on_calibration_latency_and_slices(name, threshold, figures, passed) -> None:
    figures = dict(figures)
    metrics = GOOD | {"expected_calibration_error": figures.pop("calibration", 0.0)}
    decision = decide(Evidence(metrics=metrics, **figures), replace(BAR, **{name: threshold}))
    assert reason(decision, name).passed is passed
    assert reason(decision, name).threshold == threshold
    assert decision.blessed is passed


def test_the_worst_slice_is_named_with_the_figures_of_all() -> None:
    slices = [part(0.9, 0.8, "4 to 9 words"), part(0.7, 0.9, "negative reviews"), part(0.8, 0.8)]
    evidence = Evidence(metrics=GOOD, champion=champion(), slices=slices)
    config = replace(BAR, min_slice_accuracy=0.75, max_slice_accuracy_drop=0.05)
    decision = decide(evidence, config)
    floor, drop = (reason(decision, n) for n in ("min_slice_accuracy", "max_slice_accuracy_drop"))
    assert (floor.passed, drop.passed) == (False, False)
    assert floor.value == 0.7 and drop.value == pytest.approx(0.2)
    assert "least on negative reviews, 0.7" in floor.sentence
    assert "largest drop is on negative reviews, 0.2" in drop.sentence
    assert floor.details == {"4 to 9 words": 0.9, "negative reviews": 0.7, "a": 0.8}
    assert list(drop.details.values()) == pytest.approx([-0.1, 0.2, 0.0])


@pytest.mark.parametrize(
    ("slices", "passed"),
    [
        ([part(0.85, 0.9)], True),
        ([part(0.8499, 0.9)], False),
        ([part(1.0, 0.2), part(0.8, 0.9, "b")], False),
        ([part(0.9, None)], False),
        ([part(None, 0.9)], False),
        ([], False),
    ],
)
def test_a_drop_on_a_slice(slices, passed) -> None:
    config = replace(BAR, max_slice_accuracy_drop=0.05)
    evidence = Evidence(metrics=GOOD, champion=champion(), slices=slices)
    assert decide(evidence, config).blessed is passed
    assert decide(replace(evidence, champion=None), config).blessed, "nothing to compare with"


@pytest.mark.parametrize(
    ("accuracy", "best", "passed"),
    [
        (0.88, 0.89, True),  # 0.89 - 0.88 is a little above 0.01 in floats
        (0.8799, 0.89, False),
        (0.95, 0.89, True),
        (0.88, math.nan, False),
        (0.88, None, True),
    ],
)
def test_a_floor_under_the_best_ever_whoever_is_champion(accuracy, best, passed) -> None:
    config = replace(BAR, max_accuracy_below_best=0.01, max_accuracy_drop=0.0)
    ever = BestEver(version=2, accuracy=best) if best is not None else None
    evidence = Evidence(metrics={"accuracy": accuracy}, champion=champion(accuracy), best_ever=ever)
    decision = decide(evidence, config)
    found = reason(decision, "max_accuracy_below_best")
    assert decision.blessed is found.passed is passed
    if ever is None:
        assert found.sentence == "the registry records nothing on these test reviews yet"
    else:
        assert "(version 2)" in found.sentence
        assert found.details["accuracy"] == accuracy


@pytest.mark.parametrize(
    ("accuracy", "baseline", "margin", "blessed"),
    [
        (0.88, 0.87, 0.01, True),
        (0.88, 0.87, 0.0101, False),
        (0.86, 0.87, -0.01, True),
        (0.86, None, -1.0, False),
    ],
)
def test_a_margin_over_the_linear_baseline(accuracy, baseline, margin, blessed) -> None:
    evidence = Evidence(metrics={"accuracy": accuracy}, baseline_accuracy=baseline)
    decision = decide(evidence, EvaluateConfig(min_accuracy_over_baseline=margin))
    assert decision.blessed is blessed


@pytest.mark.parametrize(
    ("accuracy", "drop", "blessed"),
    [
        (0.88, 0.0, True),
        (0.8799, 0.0, False),
        (0.87, 0.01, True),  # 0.88 - 0.87 is a little above 0.01 in floats
        (0.8699, 0.01, False),
        (0.95, 0.0, True),
        (0.5, None, True),
    ],
)
def test_a_drop_below_the_champion(accuracy, drop, blessed) -> None:
    evidence = Evidence(metrics={"accuracy": accuracy}, champion=champion(0.88))
    config = replace(BAR, min_accuracy=0.1, max_accuracy_drop=drop)
    assert decide(evidence, config).blessed is blessed


@pytest.mark.parametrize(
    ("losses", "gains", "p", "blessed"),
    [
        # By hand: P(at least k heads in n throws of a coin).
        (0, 0, 1.0, True),
        (4, 0, 1 / 16, True),
        (5, 0, 1 / 32, False),
        (7, 2, (36 + 9 + 1) / 512, True),
        (8, 1, (9 + 1) / 512, False),
        (1, 8, 511 / 512, True),
    ],
)
def test_mcnemars_exact_test_against_the_champion(losses, gains, p, blessed) -> None:
    evidence = Evidence(metrics=GOOD, champion=champion(0.9, losses, gains))
    config = replace(BAR, significance_level=0.05)
    found = reason(decide(evidence, config), "significance_level")
    assert found.value == pytest.approx(p, abs=1e-12)
    assert found.details == {"losses": losses, "gains": gains}
    assert found.passed is blessed
    assert found.sentence.startswith("not significantly worse" if blessed else "significantly")


def test_a_champion_no_better_never_counts_as_significantly_so_at_any_level() -> None:
    evidence = Evidence(metrics=GOOD, champion=champion(0.9, losses=3, gains=3))
    config = replace(BAR, significance_level=1.0)
    assert decide(evidence, config).blessed


def test_a_comparison_counts_pairs() -> None:
    ours = np.array([True, False, False, True, False, True, True, False])
    its = np.array([True, True, False, False, True, True, True, True])
    assert ChampionComparison.of(7, ours, its) == ChampionComparison(
        version=7, accuracy=0.75, losses=3, gains=1
    )


@pytest.mark.parametrize(("ours", "its"), [([], []), ([True], [True, False])])
def test_a_comparison_of_different_reviews_is_refused(ours, its) -> None:
    with pytest.raises(ValueError, match=r"argument|no review"):
        ChampionComparison.of(1, ours, its)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_what_is_not_a_number_fails_each_of_its_checks(bad) -> None:
    config = EvaluateConfig(
        min_accuracy=0.0,
        max_loss=100.0,
        min_auc=0.0,
        min_slice_accuracy=0.0,
        max_calibration_error=1.0,
        max_latency_ms=1e6,
        min_accuracy_over_baseline=-1.0,
        max_accuracy_drop=1.0,
        max_slice_accuracy_drop=1.0,
        max_accuracy_below_best=1.0,
    )
    evidence = Evidence(
        metrics=dict.fromkeys(GOOD, bad),
        champion=champion(0.9),
        best_ever=BestEver(version=1, accuracy=0.9),
        slices=[part(0.9, 0.9), part(bad, 0.9, "b")],
        latency_ms=bad,
        baseline_accuracy=0.9,
    )
    names = {field.name for field in fields(config)} - {"significance_level"}
    failed = {reason.name for reason in decide(evidence, config).reasons if not reason.passed}
    assert failed == names
    evidence = Evidence(
        metrics=GOOD,
        champion=champion(bad),
        best_ever=BestEver(version=1, accuracy=bad),
        slices=[part(0.9, bad)],
        latency_ms=1.0,
        baseline_accuracy=bad,
    )
    failed = {reason.name for reason in decide(evidence, config).reasons if not reason.passed}
    assert failed == {
        "min_accuracy_over_baseline",
        "max_accuracy_drop",
        "max_slice_accuracy_drop",
        "max_accuracy_below_best",
    }


def test_a_decision_is_json_even_with_what_is_not_a_number() -> None:
    evidence = Evidence(metrics={"accuracy": math.nan}, champion=champion(0.9, 5, 1))
    values = decide(evidence, BAR).to_mapping()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["blessed"] is False
    assert values["reasons"][0] == {
        "name": "min_accuracy",
        "passed": False,
        "value": None,
        "threshold": 0.8,
        "sentence": "accuracy (not a number) must be at least 0.8",
        "details": {},
    }


unit = st.floats(0.0, 1.0)
maybe = st.none() | unit
anything = st.none() | st.floats()
champions = st.none() | st.builds(
    ChampionComparison,
    version=st.just(1),
    accuracy=unit,
    losses=st.integers(0, 40),
    gains=st.integers(0, 40),
)
records = st.none() | st.builds(BestEver, version=st.integers(1, 9), accuracy=unit)


def slices(accuracies: st.SearchStrategy, champions: st.SearchStrategy) -> st.SearchStrategy:
    pairs = st.lists(st.tuples(accuracies, champions), max_size=4)
    return pairs.map(
        lambda drawn: [part(ours, its, f"slice {n}") for n, (ours, its) in enumerate(drawn)]
    )


evidences = st.builds(
    Evidence,
    metrics=st.fixed_dictionaries(dict.fromkeys(GOOD, anything)),
    champion=champions,
    best_ever=records,
    slices=slices(anything, anything),
    latency_ms=anything,
    baseline_accuracy=maybe,
)
# A few thresholds at a time, and loose ones as well: all of them together bless next to nothing.
thresholds = {
    field.name: unit | st.just(1.0 if field.name.startswith("max_") else 0.0)
    for field in fields(EvaluateConfig)
}
configs = (
    st.lists(st.sampled_from(list(thresholds)), unique=True, max_size=4)
    .flatmap(lambda names: st.fixed_dictionaries({name: thresholds[name] for name in names}))
    .map(lambda given: replace(NO_CHANGE_THRESHOLDS, **given))
)


@given(evidences, configs)
def test_every_configured_check_is_among_the_reasons_and_all_must_pass(evidence, config) -> None:
    decision = decide(evidence, config)
    configured = {f.name for f in fields(config) if getattr(config, f.name) is not None}
    names = [reason.name for reason in decision.reasons]
    assert len(names) == len(set(names))
    assert set(names) - {"value_thresholds"} == configured
    assert decision.blessed is all(reason.passed for reason in decision.reasons)
    for found in decision.reasons:
        assert found.threshold == getattr(config, found.name, None)


@given(st.permutations(CHECKS), evidences, configs)
def test_the_order_of_the_checks_changes_nothing(checks, evidence, config) -> None:
    usual = decide(evidence, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "CHECKS", tuple(checks))
        other = decide(evidence, config)
    by_name = [sorted(d.to_mapping()["reasons"], key=lambda r: r["name"]) for d in (usual, other)]
    assert other.blessed is usual.blessed
    assert by_name[0] == by_name[1]


@given(evidences, configs)
def test_a_decision_goes_through_json_and_back(evidence, config) -> None:
    values = decide(evidence, config).to_mapping()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


NUMBERS = ("accuracy", "loss", "auc", "calibration", "latency", "slice", "baseline", "best")


@given(st.sampled_from(NUMBERS), st.sampled_from([None, math.nan, math.inf, -math.inf]))
@example("accuracy", math.nan)
def test_no_figure_that_is_not_a_number_is_ever_blessed(which, bad) -> None:
    """Whatever else is perfect, under the loosest thresholds that there are."""
    loosest = {"max_loss": 100.0, "max_latency_ms": 1e6, "significance_level": 0.0}
    low = ("min_accuracy", "min_auc", "min_slice_accuracy")
    high = [f.name for f in fields(EvaluateConfig) if f.name not in {*loosest, *low}]
    config = EvaluateConfig(**loosest, **dict.fromkeys(low, 0.0), **dict.fromkeys(high, 1.0))
    config = replace(config, min_accuracy_over_baseline=-1.0)
    keys = {"calibration": "expected_calibration_error"}
    perfect = Evidence(
        metrics={"accuracy": 1.0, "loss": 0.0, "auc": 1.0, "expected_calibration_error": 0.0},
        champion=champion(0.0, gains=100),
        best_ever=BestEver(version=1, accuracy=0.0),
        slices=[part(1.0, 0.0)],
        latency_ms=0.0,
        baseline_accuracy=0.0,
    )
    assert decide(perfect, config).blessed
    changed = {
        "latency": {"latency_ms": bad},
        "slice": {"slices": [part(1.0, 0.0), part(bad, 0.0, "b")]},
        "baseline": {"baseline_accuracy": bad},
        "best": {"best_ever": BestEver(version=1, accuracy=bad)},
    }.get(which, {"metrics": {**perfect.metrics, keys.get(which, which): bad}})
    assert not decide(replace(perfect, **changed), config).blessed


@given(
    evidences,
    st.sampled_from([f.name for f in fields(EvaluateConfig) if f.name not in VALUE_THRESHOLDS]),
    unit,
)
@example(Evidence(metrics=GOOD), "max_calibration_error", 1.0)
def test_without_a_value_threshold_nothing_is_blessed(evidence, name, threshold) -> None:
    decision = decide(evidence, EvaluateConfig(**{name: threshold}))
    assert not decision.blessed
    assert "no value threshold is set" in reason(decision, "value_thresholds").sentence


@given(evidences, configs)
def test_a_missing_champion_never_blocks(evidence, config) -> None:
    if decide(evidence, config).blessed:
        assert decide(replace(evidence, champion=None), config).blessed


accuracies = st.integers(0, 50).map(lambda right: right / 50)


@given(
    st.data(),
    configs,
    st.builds(
        Evidence,
        metrics=st.fixed_dictionaries(
            {
                "accuracy": accuracies,
                "loss": st.floats(0.0, 10.0),
                "auc": unit,
                "expected_calibration_error": unit,
            }
        ),
        champion=champions,
        best_ever=records,
        slices=slices(unit, unit),
        latency_ms=unit,
        baseline_accuracy=maybe,
    ),
)
def test_a_better_candidate_is_never_refused_where_a_worse_one_is_blessed(
    data, config, worse
) -> None:
    was = worse.metrics
    metrics = {
        "accuracy": was["accuracy"] + data.draw(unit),
        "loss": data.draw(st.floats(0.0, was["loss"])),
        "auc": data.draw(st.floats(was["auc"], 1.0)),
        "expected_calibration_error": data.draw(st.floats(0, was["expected_calibration_error"])),
    }
    parts = [
        replace(part, accuracy=data.draw(st.floats(part.accuracy, 1.0))) for part in worse.slices
    ]
    latency_ms = data.draw(st.floats(0.0, worse.latency_ms))
    config = replace(config, min_accuracy=data.draw(st.floats(0.0, was["accuracy"])))
    better = replace(worse, metrics=metrics, slices=parts, latency_ms=latency_ms)
    if worse.champion is not None:
        comparison = replace(
            worse.champion,
            losses=data.draw(st.integers(0, worse.champion.losses)),
            gains=worse.champion.gains + data.draw(st.integers(0, 40)),
        )
        better = replace(better, champion=comparison)
    if decide(worse, config).blessed:
        assert decide(better, config).blessed
