"""The command `sweep`: what it refuses before anything is made."""

import json
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config import preset
from pipeline.sweep.plan import load, plan_sweep, save


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["sweep", *arguments]) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to search: give --search"),
        (["--search", "hidden_sizes=1,2"], "did you mean 'hidden_size'"),
        (["--search", "hidden_size=1,2", "--source", "nowhere"], "source 'nowhere': there is no"),
        (["--search", "hidden_size=1,2", "--trials", "0"], "'--trials': 0 is not in the range"),
        (["--search", "hidden_size=1,2", "--set", "num_epoch=1"], "did you mean 'num_epochs'"),
        (["--resume", "x", "--search", "a=1,2", "--trials", "3"], "leave out --search, --trials"),
        (["--resume", "x"], "--resume x: no sweep in"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_told_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--search", "cell=rnn,gru", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["input_error"] and "cell=rnn: must be one of" in found["error"]


def test_what_is_kept_of_a_sweep_is_the_sweep(tmp_path: Path) -> None:
    spec = plan_sweep(
        source="bundled",
        preset="debug",
        config=preset("debug"),
        pipeline_root=str(tmp_path),
        search=["learning_rate=1e-4..1e-2:log"],
        count=4,
        seed=1,
        parallelism=2,
    )
    assert len(spec.trials) == 4 and spec.serving_dir == str(spec.run_dir / "serving")
    save(spec)
    assert load(str(tmp_path), spec.run_id, None) == spec
    # It is no run, and can't be gone on with as one.
    assert main(["run", "--resume", spec.run_id, "--pipeline-root", str(tmp_path)]) == 2
