"""Submitting a sweep, by the command line, against a stand-in for KFP."""

import json
from typing import Any

import pytest
import yaml

from pipeline.cli import main

SEARCH = ["--search", "hidden_size=4,8", "--search", "learning_rate=1e-3..1e-1:log"]


def test_its_trials_are_a_parameter_of_a_pipeline_of_its_own(
    kfp_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["submit-sweep", "--host", kfp_server.url, *SEARCH, "--trials", "5", "--json"]
    options = ["--preset", "debug", "--source", "bundled", "--parallelism", "4"]
    assert main([*command, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    (run,) = kfp_server.runs.values()
    assert (found["run_id"], found["trials"]) == (run.run_id, 5)
    given = run.runtime_config.parameters
    assert given["source"] == "bundled" and "evaluate_config" not in given
    assert [trial["number"] for trial in given["trials"]] == [0, 1, 2, 3, 4]
    assert all(trial["config"]["embedding_size"] == 16 for trial in given["trials"])
    assert len({str(trial["config"]) for trial in given["trials"]}) == 5
    (pipeline,) = kfp_server.pipelines.values()
    assert pipeline.name == "imdb-sentiment-sweep"
    (package,) = kfp_server.packages.values()
    assert set(given) <= set(
        next(iter(yaml.safe_load_all(package)))["root"]["inputDefinitions"]["parameters"]
    )
    # The same again is the same version, and the same trials.
    assert main([*command, *options]) == 0
    assert not json.loads(capsys.readouterr().out)["uploaded"]
    first, second = (r.runtime_config.parameters["trials"] for r in kfp_server.runs.values())
    assert first == second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to search"),
        (["--search", "max_length=1,2"], "is a key of preprocess"),
        ([*SEARCH, "--source", "reviews.tar.gz"], "means nothing on a cluster"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    kfp_server: Any, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["submit-sweep", "--host", kfp_server.url, *options]) == 2
    assert message in capsys.readouterr().err and not kfp_server.requests
