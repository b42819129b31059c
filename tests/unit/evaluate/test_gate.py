"""The gate: every check at its edge, and properties that hold for any figures."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.evaluate.gate import ChampionComparison, Decision, Evidence, Reason, decide
from components.shared.config import EvaluateConfig

GOOD = {"accuracy": 0.9, "loss": 0.3, "auc": 0.95}
BAR = EvaluateConfig(min_accuracy=0.8)
VALUE_THRESHOLDS = ("min_accuracy", "max_loss", "min_auc", "min_accuracy_over_baseline")


def champion(accuracy: float = 0.9, losses: int = 0, gains: int = 0) -> ChampionComparison:
    return ChampionComparison(version=3, accuracy=accuracy, losses=losses, gains=gains)


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
    decision = decide(evidence, EvaluateConfig(min_accuracy=0.1, max_accuracy_drop=drop))
    assert decision.blessed is blessed


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
    config = EvaluateConfig(min_accuracy=0.1, max_accuracy_drop=1.0, significance_level=0.05)
    found = reason(decide(evidence, config), "significance_level")
    assert found.value == pytest.approx(p, abs=1e-12)
    assert found.details == {"losses": losses, "gains": gains}
    assert found.passed is blessed
    assert found.sentence.startswith("not significantly worse" if blessed else "significantly")


def test_a_champion_no_better_never_counts_as_significantly_so_at_any_level() -> None:
    evidence = Evidence(metrics=GOOD, champion=champion(0.9, losses=3, gains=3))
    config = EvaluateConfig(min_accuracy=0.1, significance_level=1.0)
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
        min_accuracy=0.0, max_loss=100.0, min_auc=0.0, min_accuracy_over_baseline=-1.0
    )
    evidence = Evidence(
        metrics={"accuracy": bad, "loss": bad, "auc": bad},
        champion=champion(0.9),
        baseline_accuracy=0.9,
    )
    failed = {reason.name for reason in decide(evidence, config).reasons if not reason.passed}
    assert failed == {*VALUE_THRESHOLDS, "max_accuracy_drop"}
    evidence = Evidence(metrics=GOOD, champion=champion(bad), baseline_accuracy=bad)
    failed = {reason.name for reason in decide(evidence, config).reasons if not reason.passed}
    assert failed == {"min_accuracy_over_baseline", "max_accuracy_drop"}


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
champions = st.none() | st.builds(
    ChampionComparison,
    version=st.just(1),
    accuracy=unit,
    losses=st.integers(0, 40),
    gains=st.integers(0, 40),
)
evidences = st.builds(
    Evidence,
    metrics=st.fixed_dictionaries(
        {"accuracy": st.floats() | st.none(), "loss": st.floats() | st.none(), "auc": st.floats()}
    ),
    champion=champions,
    baseline_accuracy=maybe,
)
configs = st.builds(
    EvaluateConfig,
    min_accuracy=maybe,
    max_loss=st.none() | st.floats(0.0, 10.0),
    min_auc=maybe,
    max_accuracy_drop=maybe,
    significance_level=maybe,
    min_accuracy_over_baseline=maybe,
)


@given(evidences, configs)
def test_every_configured_check_is_among_the_reasons_and_all_must_pass(evidence, config) -> None:
    decision = decide(evidence, config)
    configured = {f.name for f in fields(config) if getattr(config, f.name) is not None}
    names = [reason.name for reason in decision.reasons]
    assert len(names) == len(set(names))
    assert set(names) - {"value_thresholds"} == configured
    assert decision.blessed is all(reason.passed for reason in decision.reasons)


@given(evidences, maybe, maybe)
@example(Evidence(metrics=GOOD), 0.0, 0.05)
def test_without_a_value_threshold_nothing_is_blessed(evidence, drop, level) -> None:
    decision = decide(evidence, EvaluateConfig(max_accuracy_drop=drop, significance_level=level))
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
            {"accuracy": accuracies, "loss": st.floats(0.0, 10.0), "auc": unit}
        ),
        champion=champions,
        baseline_accuracy=maybe,
    ),
)
def test_a_better_candidate_is_never_refused_where_a_worse_one_is_blessed(
    data, config, worse
) -> None:
    metrics = {
        "accuracy": worse.metrics["accuracy"] + data.draw(unit),
        "loss": data.draw(st.floats(0.0, worse.metrics["loss"])),
        "auc": data.draw(st.floats(worse.metrics["auc"], 1.0)),
    }
    better = replace(worse, metrics=metrics)
    if worse.champion is not None:
        comparison = replace(
            worse.champion,
            losses=data.draw(st.integers(0, worse.champion.losses)),
            gains=worse.champion.gains + data.draw(st.integers(0, 40)),
        )
        better = replace(better, champion=comparison)
    if decide(worse, config).blessed:
        assert decide(better, config).blessed
