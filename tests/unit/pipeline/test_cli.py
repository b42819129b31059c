"""The command line, as a process."""

import json
import os
import pty
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def start(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, **{**pipes, **options})


def call(*arguments: str, cwd: Path, **options: Any) -> tuple[int, str, str]:
    with start(*arguments, cwd=cwd, **options) as process:
        output, errors = process.communicate()
    return process.returncode, output.decode(), errors.decode()


def test_help_needs_none_of_the_libraries_that_take_seconds(tmp_path: Path) -> None:
    program = (
        "import sys; from pipeline.cli import main; main(['run', '--help'])\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--serving-dir DIR" in output and "learning_rate=" in output
    for module in ("kfp", "tensorflow", "keras", "apache_beam", "numpy", "obstore"):
        assert f"'{module}'" not in output


def test_every_line_of_help_fits_a_terminal(tmp_path: Path) -> None:
    commands = (
        "run, predict, compile, submit, schedule apply, schedule resume, models list, task train"
    )
    for command in ["", *commands.split(", ")]:
        status, output, _ = call(*command.split(), "--help", cwd=tmp_path)
        assert status == 0
        assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["run", "--nonsense"], "No such option"),
        (["run", "--preset", "huge"], "'huge' is not one of 'default', 'accurate'"),
        (["run", "--set", "num_epochs"], "'num_epochs' isn't KEY=VALUE"),
        (["run", "--set", "num_epoch=3"], "did you mean 'num_epochs'?"),
        (["run", "--set", "num_epochs=three"], "num_epochs=three: must be a whole number"),
        (["run", "--set", "num_epochs=0"], "num_epochs=0: out of range"),
        (["run", "--source", "nowhere"], "source 'nowhere': there is no such file or folder"),
        (["run", "--serving-dir", "/proc/x"], "serving_dir /proc/x: cannot be written to"),
        (["run", "--resume", ""], "--resume : no run in"),  # a shell's variable that isn't set
        (["run", "--resume", "x" * 300], "no run in"),
        (["compile", "-o", "pipeline.txt"], "give a path that ends in .yaml"),
        (["predict", "--serving-dir", "nowhere", "good"], "holds no model yet"),
    ],
)
def test_a_mistake_ends_with_2_and_a_message_and_makes_nothing(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    status, output, errors = call(*arguments, cwd=tmp_path)
    assert (status, output) == (2, "")
    assert words in errors and "Traceback" not in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 300, "loop/x", "file/x"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("run --source", ""),
        ("run --serving-dir", ""),
        ("run --pipeline-root", ""),
        ("run --resume r --pipeline-root", ""),
        ("sweep --pipeline-root", "--search learning_rate=0.1"),
        ("predict --serving-dir", "good"),
        ("models rollback --serving-dir", ""),
        ("compile -o", ""),
        ("schedule apply --host http://localhost:1 -f", ""),
        ("task ingest --reviews made --source", ""),
        ("task ingest --source bundled --reviews", ""),
        ("task preprocess --examples a --vocabulary b --statistics c --reviews", ""),
    ],
)
def test_a_path_that_cannot_be_is_a_mistake(
    tmp_path: Path, before: str, after: str, name: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    path = f"{name}.yaml" if before.startswith("compile") else name
    status, output, errors = call(*before.split(), path, *after.split(), cwd=tmp_path)
    # A registry in a loop of links is a storage that doesn't answer.
    assert status in (1, 2) and output == ""
    assert errors.splitlines()[-1].startswith("Error: ") and "Traceback" not in errors
    assert {entry.name for entry in tmp_path.iterdir()} == {"loop", "file"}


def test_a_pipeline_root_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o000)
    words = [sys.executable, "-m", "pipeline", "run", "--resume", "r"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and there is no setpriv to prevent it")
        words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be read (Permission denied)" in done.stderr


def test_predict_on_a_terminal_asks_for_a_review(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    status, _, errors = call("predict", cwd=tmp_path, stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert status == 2 and "one review a line on standard input" in errors


def test_a_mistake_with_json_is_an_object_too(tmp_path: Path) -> None:
    status, output, errors = call("run", "--source", "nowhere", "--json", cwd=tmp_path)
    answer = json.loads(output.splitlines()[-1])
    assert (status, answer["run_id"], answer["input_error"]) == (2, None, True)
    assert answer["error"] in errors


def test_input_that_a_task_refuses_ends_with_2_and_leaves_only_logs(tmp_path: Path) -> None:
    (tmp_path / "reviews").mkdir()
    status, output, errors = call("run", "--source", "reviews", "--json", cwd=tmp_path)
    answer = json.loads(output)
    assert (status, answer["task"], answer["input_error"]) == (2, "ingest", True)
    assert "holds no review" in answer["error"] and answer["error"] in errors
    assert "ingest      failed" in errors and "Traceback" not in errors
    assert Path(answer["log"]).is_file()
    assert not (tmp_path / "serving").exists()
    run_dir = Path(answer["run_dir"])
    files = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file()}
    assert files == {
        *("pipeline.yaml", "run.json", "outcome.json", ".lock", ".tasks.lock"),
        *("logs/ingest.log", "logs/notify.log", "logs/pipeline.log"),
        "tasks/notify/executor_output.json",
    }


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_and_its_tasks(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"http://user:p4ss@127.0.0.1:{server.getsockname()[1]}/a.tar.gz?signature=s3cret"
        with start("run", "--source", source, cwd=tmp_path) as process:
            connection, _ = server.accept()
            with connection:
                # The task waits for an answer by now.
                process.send_signal(number)
                output, errors = process.communicate()
                connection.settimeout(600)
                while connection.recv(4096):
                    pass
    assert process.returncode == status
    assert b"Ended before the run was complete" in output and errors == b""
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any("p4ss" in text or "s3cret" in text for text in written)


def test_a_reader_that_goes_away_ends_a_command_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with start("run", "--help", cwd=tmp_path, stdout=writing) as process:
        _, errors = process.communicate()
    os.close(writing)
    assert (process.returncode, errors) == (141, b"")


def shell(redirections: str, *arguments: str, cwd: Path) -> tuple[int, str]:
    """The status and standard error of a command with its streams as a shell redirects them."""
    words = shlex.join([sys.executable, "-m", "pipeline", *arguments])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    command = ["bash", "-o", "pipefail", "-c", f"{words} {redirections}"]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True)
    return done.returncode, done.stderr.decode()


_LIST = ["models", "list", "--serving-dir", "nowhere"]
_FULL = "standard output: can't be written (No space left on device)"
_PREDICT = ["predict", "--serving-dir", "nowhere"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("redirections", "arguments", "status", "words"),
    [
        (">&-", _LIST, 0, ""),
        ("2>&-", _LIST, 0, ""),
        ("<&- >&- 2>&-", _LIST, 0, ""),
        ("<&- >&- 2>&-", ["predict", "--nonsense"], 2, ""),
        ("<&- >&- 2>&-", ["run", "--source", "nowhere"], 2, ""),
        (">/dev/full", _LIST, 1, _FULL),
        (">/dev/full", ["run", "--help"], 1, _FULL),
        (">/dev/full", ["compile"], 1, _FULL),
        ("1</dev/null", _LIST, 1, "can't be written (Bad file descriptor)"),
        ("2>/dev/full", ["run", "--source", "nowhere"], 2, ""),
        ("2>/dev/full", ["predict", "--nonsense"], 2, ""),
        ("2>&1 >/dev/null | true", ["run", "--source", "nowhere"], 2, ""),
        ("<&-", _PREDICT, 2, "one review a line on standard input"),
        ("<&- >&-", _PREDICT, 2, "one review a line on standard input"),
    ],
)
def test_a_closed_or_full_stream_ends_a_command_without_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    redirections: str,
    arguments: list[str],
    status: int,
    words: str,
    unbuffered: str,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    code, errors = shell(redirections, *arguments, cwd=tmp_path)
    assert code == status
    assert "Traceback" not in errors and "Exception ignored" not in errors
    assert words in errors.rpartition("Error: ")[2] and bool(errors) == bool(words)


def test_a_closed_descriptor_is_not_given_to_another_file(tmp_path: Path) -> None:
    program = (
        "import os; from pipeline.cli import main; main(['models', 'list', '--help'])\n"
        "assert os.open('file', os.O_CREAT | os.O_WRONLY) > 2"
    )
    command = f"{shlex.join([sys.executable, '-c', program])} <&- >&- 2>&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "file").read_bytes() == b""


def test_compile_says_where_the_pipeline_is(tmp_path: Path) -> None:
    status, output, errors = call("compile", cwd=tmp_path)
    assert (status, errors) == (0, "")
    assert output == f"Wrote {tmp_path / 'pipeline.yaml'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]
