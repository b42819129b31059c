"""The real pipeline through KFP's local runner, as a user runs it."""

import base64
import http.server
import io
import json
import os
import pickle
import pickletools
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from components.shared.artifacts import directory_sha256

ROOT = Path(__file__).parents[2]

PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-access-key",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "AZURE_STORAGE_SAS_KEY": "planted-sas-key",
}
"""Secrets in the environment of every command; the source and the webhook have more of them."""

HARD_NAME = r"-a [b]*? {c} \d %41 #e $F ;'\" é"
"""Wildcards of TensorFlow and the shell, escapes of URIs, quotes, a blank, no ASCII."""


def command(
    *arguments: str, text: str | None = None, **webhook: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, **PLANTED, **webhook, "TF_CPP_MIN_LOG_LEVEL": "0"},  # as a user has it
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, write_reviews: Callable[..., Path]) -> Path:
    """A folder whose name holds all that a library might read as more than a name."""
    path = tmp_path_factory.mktemp("pipeline") / HARD_NAME
    write_reviews(path / "reviews", per_class=300, noise=0.05, unlabelled=20)
    with tarfile.open(path / "reviews.tar.gz", "w:gz") as archive:
        archive.add(path / "reviews", "aclImdb")
    return path


@pytest.fixture(scope="module")
def requests(workplace: Path) -> Iterator[list[str]]:
    """What a server of the archive, which is a webhook too, was asked; its port stands first."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(workplace))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def do_POST(self) -> None:
            told = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append(f"{self.path} {told}")
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        asked.append(str(server.server_port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked
        server.shutdown()


def run(workplace: Path, requests: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    host = f"127.0.0.1:{requests[0]}"
    source = f"http://planted-user:planted-password@{host}/reviews.tar.gz?signature=planted-query"
    return command(
        "run", "--source", source, "--preset", "debug", "--json",
        "--serving-dir", str(workplace / "serving"), "--pipeline-root", str(workplace / "runs"),
        *arguments, NOTIFY_WEBHOOK_URL=f"http://{host}/planted-hook?token=planted-token",
    )  # fmt: skip


@pytest.fixture(scope="module")
def blessed(workplace: Path, requests) -> tuple[dict[str, Any], str]:
    """The answer of a first run, and what it showed."""
    result = run(workplace, requests)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr


@pytest.fixture(scope="module")
def refused(workplace: Path, requests, blessed) -> tuple[dict[str, Any], dict[str, str], int]:
    """The answer of a second run whose model learned next to nothing; the registry before it."""
    before = directory_sha256(workplace / "serving")
    result = run(workplace, requests, "--set", "learning_rate=1e-8", "--set", "num_epochs=1",
                 "--require-blessed")  # fmt: skip
    assert result.returncode in (0, 3), result.stderr
    return json.loads(result.stdout), before, result.returncode


def test_the_first_run_is_blessed_and_served(blessed, requests, workplace) -> None:
    answer, _ = blessed
    assert answer["blessed"] is True and answer["serving_version"] == 1
    assert answer["preset"] == "debug" and answer["source"] == (
        f"http://127.0.0.1:{requests[0]}/reviews.tar.gz"
    )
    assert answer["splits"]["test"] == 600 and answer["splits"]["unsupervised"] == 20
    assert answer["metrics"]["accuracy"] > 0.8
    assert {"loss", "auc", "precision", "recall", "f1"} <= set(answer["metrics"])
    assert answer["baseline"]["accuracy"] > 0.8
    served = directory_sha256(workplace / "serving" / "1")
    assert served == directory_sha256(answer["saved_model"]) and "saved_model.pb" in served
    assert Path(answer["report"]).read_text().startswith("<!DOCTYPE html>")
    seconds = answer["seconds"]
    assert set(seconds) == {
        *("ingest", "preprocess", "train", "export", "evaluate", "push", "notify", "total")
    }
    assert sum(seconds.values()) - seconds["total"] <= seconds["total"]


def test_the_terminal_shows_tasks_and_not_raw_logs(blessed, workplace) -> None:
    answer, shown = blessed
    lines = shown.splitlines()
    for task in ("ingest", "preprocess", "train", "export", "evaluate", "push", "notify"):
        assert sum(line.startswith(task) and " done " in line for line in lines) == 1
        log = workplace / "runs" / answer["run_id"] / "logs" / f"{task}.log"
        assert log.stat().st_size > 0
    assert "BLESSED" in shown and answer["report"] in shown
    for noise in ("oneDNN", "cuda", "executor_input", "absl", "WARNING", "Traceback", "kfp"):
        assert noise not in shown


def test_a_worse_model_is_refused_and_the_registry_stays(refused, workplace) -> None:
    answer, before, status = refused
    assert status == 3
    assert answer["blessed"] is False and answer["serving_version"] is None
    assert answer["champion"]["version"] == 1
    failed = {reason["name"] for reason in answer["reasons"] if not reason["passed"]}
    assert {"min_accuracy", "max_accuracy_drop"} <= failed
    assert directory_sha256(workplace / "serving") == before


def test_a_run_for_which_nothing_changed_ends_after_ingest(refused, requests, workplace) -> None:
    result = run(workplace, requests, "--skip-unchanged", "--require-blessed")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["unchanged"], answer["serving_version"]) == (True, 1)
    assert set(answer["seconds"]) == {"ingest", "notify", "total"}
    assert "nothing changed since version 1" in result.stderr
    assert directory_sha256(workplace / "serving") == refused[1]


def test_no_secret_is_written_or_shown(workplace, requests, blessed, refused) -> None:
    """Those of the environment, the source and the webhook, which were all used."""
    asked = "\n".join(requests)
    assert "/reviews.tar.gz?signature=planted-query" in asked
    assert "/planted-hook?token=planted-token" in asked and '"blessed"' in asked
    shown = json.dumps(blessed[0]) + blessed[1] + json.dumps(refused[0])
    told = "\n".join(line for line in requests if line.startswith("/planted-hook?"))
    assert "planted" not in shown
    assert "planted" not in told.replace("/planted-hook?token=planted-token", "")
    files = [
        path
        for folder in ("runs", "serving")
        for path in (workplace / folder).rglob("*")
        if path.is_file()
    ]
    names = {path.name for path in files}
    assert {"report.html", "evaluation.json", "00000001.json", "pipeline.yaml"} <= names
    assert {"ingest.log", "train.log", "evaluate.log", "notify.log", "summary.json"} <= names
    password = base64.b64encode(b"planted-user:planted-password")
    for path in files:
        content = path.read_bytes()
        assert b"planted" not in content and password not in content, path


def test_nothing_is_written_outside_of_the_folders_that_were_given(
    blessed, refused, workplace
) -> None:
    assert [path.name for path in workplace.parent.iterdir()] == [HARD_NAME]
    names = {"reviews", "reviews.tar.gz", "serving", "runs"}
    assert {path.name for path in workplace.iterdir()} == names


def test_the_champion_answers_predictions(blessed, workplace) -> None:
    serving_dir = str(workplace / "serving")
    result = command("predict", "--serving-dir", serving_dir, "a delightful superb film", "tedious")
    assert result.returncode == 0, result.stderr
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["label"] == "positive" and second["label"] == "negative"
    assert 0 <= second["probability"] < 0.5 <= first["probability"] <= 1
    lines = command("predict", "--serving-dir", serving_dir, text="superb\n\ntedious\n")
    labels = [json.loads(line)["label"] for line in lines.stdout.splitlines()]
    assert len(labels) == 3 and labels[0] == "positive" and labels[2] == "negative"


def test_two_runs_of_the_same_give_the_same_bytes(blessed, refused, workplace) -> None:
    """Of what both runs made alike: the second had the same source and preprocessing."""
    runs = [workplace / "runs" / answer["run_id"] for answer in (blessed[0], refused[0])]
    for name in ("ingest/reviews", "preprocess/examples", "preprocess/vocabulary"):
        first, second = (directory_sha256(next(run.glob(f"*/{name}"))) for run in runs)
        assert first and first == second, name
    # The second had a champion to hold its reviews against; the checks say so.
    first, second = (
        json.loads(next(run.glob("*/preprocess/statistics/statistics.json")).read_text())
        for run in runs
    )
    assert first.pop("checks") != second.pop("checks")
    assert first == second


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .tar.gz"),
        (b"\x1f\x8b\x08 damaged", "truncated or damaged"),
        (b"just text", "not a .tar.gz"),
    ],
)
def test_a_bad_archive_ends_the_run_with_a_clear_line(tmp_path, content, message) -> None:
    archive = tmp_path / "reviews.tar.gz"
    archive.write_bytes(content)
    result = command("run", "--source", str(archive), "--preset", "debug",
                     "--serving-dir", str(tmp_path / "serving"),
                     "--pipeline-root", str(tmp_path / "runs"))  # fmt: skip
    assert result.returncode == 2
    assert "reviews.tar.gz" in result.stdout and message in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "serving").exists()
    (run_dir,) = (tmp_path / "runs").iterdir()
    left = {p.relative_to(run_dir).parts[0] for p in run_dir.rglob("*") if p.is_file()}
    assert left <= {
        *("logs", "tasks", "pipeline.yaml", "run.json", "outcome.json", ".lock", ".tasks.lock")
    }
    made = {path.parent.name for path in (run_dir / "tasks").rglob("*") if path.is_file()}
    assert made == {"notify"}


_DATA = {".json", ".txt", ".pb", ".index", ".tfrecord", ".html", ".png", ".v2", ".lock", ".keras",
         ".h5"}  # fmt: skip
_EXECUTABLE = (b"\x7fELF", b"MZ", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\x93NUMPY")


def executable(name: str, content: bytes) -> str | None:
    """Why a file could run code when it is loaded, None where it can't."""
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = [executable(part, archive.read(part)) for part in archive.namelist()]
        return next((reason for reason in found if reason), None)
    stem = re.sub(r"[.-]\d{5}-of-\d{5}", "", name)
    suffix = Path(stem).suffix if not Path(stem).name.startswith(".") else ""
    unnamed = {"", ".data"}  # of the report, warm-up requests, the marks of what is finished
    if suffix not in _DATA | unnamed:
        return f"{name}: of no known format"
    if content.startswith(_EXECUTABLE):
        return f"{name}: a program, or an array of objects"
    if is_pickle(content):
        return f"{name}: a pickle"
    if suffix == ".json" and re.search(rb'"(Lambda|__lambda__)"', content):
        return f"{name}: Keras's lambda, which is Python's bytecode"
    if suffix == ".h5":
        with h5py.File(io.BytesIO(content)) as file:
            kinds: set[str] = set()
            file.visititems(lambda _, item: kinds.add(getattr(item, "dtype", np.dtype("f4")).kind))
        return None if kinds <= set("fiu") else f"{name}: holds more than numbers"
    return None


def is_pickle(content: bytes) -> bool:
    """Whether the whole of it is one, of any protocol."""
    end = 0
    with suppress(Exception):  # it is none, whatever the parser stumbles on
        *_, (_, _, stop) = pickletools.genops(content)
        end = (stop or 0) + 1
    return 0 < end == len(content)


def test_no_artifact_is_of_an_executable_format(blessed, refused, workplace) -> None:
    folders = [workplace / "serving"]
    folders += [workplace / "runs" / run["run_id"] / "tasks" for run in (blessed[0], refused[0])]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"model.keras", "saved_model.pb", "statistics.json", "report.html"} <= names
    found = [executable(str(path.relative_to(workplace)), path.read_bytes()) for path in files]
    assert [reason for reason in found if reason] == []
    assert not [path for path in files if path.stat().st_mode & 0o111]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_found_under_any_name(protocol: int) -> None:
    content = pickle.dumps({"weights": [1.0, 2.0]}, protocol)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("config.json", content)
    for name in ("a.json", "a.pb", "a", "variables.data-00000-of-00001"):
        assert executable(name, content) == f"{name}: a pickle"
    assert executable("model.keras", packed.getvalue()) == "config.json: a pickle"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pkl", b""),
        ("a.so", b"..."),
        ("a", b"\x7fELF..."),
        ("a.txt", b"#!/bin/sh"),
        ("config.json", b'{"class_name": "Lambda"}'),
        ("a.py", b"1"),
    ],
)
def test_other_executable_formats_are_found(name: str, content: bytes) -> None:
    assert executable(name, content) is not None


def test_the_second_run_is_held_against_the_statistics_of_the_first(refused, workplace) -> None:
    run_dir = workplace / "runs" / refused[0]["run_id"]
    (found,) = run_dir.glob("**/preprocess/statistics/statistics.json")
    checks = json.loads(found.read_text())["checks"]
    assert [(check["name"], check["passed"], check["value"]) for check in checks] == [
        ("max_length_drift", True, 0.0),
        ("max_out_of_vocabulary_drift", True, 0.0),
    ]
    (output,) = run_dir.glob("**/preprocess/executor_output.json")
    shown = json.loads(output.read_text())["artifacts"]["statistics"]["artifacts"][0]["metadata"]
    assert shown["max_length_drift train"].startswith("passed: train: the lengths, ")
