"""Many noisy retrainings before the real gate: what it lets through, and what it would without."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from components.shared.config import EvaluateConfig

ROOT = Path(__file__).parents[3]
REVIEWS, RUNS = 8_000, 80


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "gate_simulation", ROOT / "tests" / "benchmarks" / "gate_simulation.py"
    )
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def worsening(simulation):
    """Each a twentieth of a point worse than the last, well within noise; four points in all."""
    return simulation.retrain(RUNS, REVIEWS, decline=0.0005, seed=1)


def refused(runs: list) -> float:
    return float(np.mean([bool(run.failed) for run in runs[1:]]))


def test_retrainings_agree_as_real_ones_do(simulation) -> None:
    drawn = simulation.retrain(6, 20_000, decline=0.0, seed=0)
    assert np.mean(drawn.correct) == pytest.approx(simulation.FIRST_QUALITY, abs=0.01)
    for first, second in zip(drawn.correct, drawn.correct[1:], strict=False):
        assert np.mean(first == second) == pytest.approx(simulation.AGREEMENT, abs=0.01)


def test_most_retrainings_of_equal_quality_pass(simulation) -> None:
    equal = simulation.retrain(RUNS, REVIEWS, decline=0.0, seed=0)
    runs = simulation.simulate(equal, simulation.SHIPPED)
    assert refused(runs) < 0.35
    assert max(run.best - run.served_accuracy for run in runs) <= 0.01 + 1e-9
    strict = simulation.simulate(equal, replace(simulation.SHIPPED, max_accuracy_drop=0.0))
    assert refused(strict) > 0.9, "were no drop allowed, noise alone would refuse them"


def test_small_losses_never_add_up_to_more_than_the_margin(simulation, worsening) -> None:
    for margin in (0.005, 0.01, 0.02):
        config = replace(simulation.SHIPPED, max_accuracy_below_best=margin)
        runs = simulation.simulate(worsening, config)
        assert max(run.best - run.served_accuracy for run in runs) <= margin + 1e-9
        assert runs[-1].failed, "it refuses in the end"


def test_without_its_checks_the_same_losses_go_through(simulation, worsening) -> None:
    """So that the tests above can fail."""
    drift = {}
    for name, config in simulation.GATES.items():
        runs = simulation.simulate(worsening, config)
        drift[name] = runs[-1].best - runs[-1].served_accuracy
    assert drift["default"] <= 0.01 + 1e-9
    assert drift["no best ever"] > 0.015
    assert drift["min_accuracy alone"] > 0.03


def test_what_ships_has_the_checks_on(simulation) -> None:
    assert simulation.SHIPPED.max_accuracy_below_best == 0.01
    assert simulation.SHIPPED.significance_level == 0.05
    assert EvaluateConfig().max_accuracy_below_best == 0.01


def test_the_same_arguments_give_the_same_bytes(simulation, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(simulation, "TEST_REVIEWS", (800,))
    made = []
    for name in ("first", "second"):
        arguments = [str(tmp_path / name), "--runs", "5", "--repetitions", "2"]
        monkeypatch.setattr(sys, "argv", ["gate_simulation.py", *arguments])
        simulation.main()
        files = sorted((tmp_path / name).iterdir())
        made.append({path.name: path.read_bytes() for path in files})
    assert list(made[0]) == ["gate_simulation.json", "gate_simulation.png"]
    assert made[0] == made[1]
    shown = capsys.readouterr().out
    assert "800 reviews, worsening" in shown and "no best ever" in shown
