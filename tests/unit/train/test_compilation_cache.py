"""The cache of compiled code: a later process compiles nothing, and reaches the same bytes."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.shared.artifacts import directory_sha256
from components.train import compilation_cache as module
from components.train.compilation_cache import FOLDER, _prune, _publish, _take

ROOT = Path(__file__).parents[3]

_TRAIN = """
import sys
from components.shared.config import TrainConfig
from components.train.train import train
examples, vocabulary, out, checkpoints, patched = sys.argv[1:]
exec(patched)
config = TrainConfig(
    cell="lstm", embedding_size=8, hidden_size=4, bigram_vocabulary_size=50, skip_connection=True,
    bigram_embedding_size=4, dropout_rate=0.2, learning_rate=0.01, batch_size=16, num_epochs=1)
train(examples, vocabulary, config, out + "/model", out + "/run", checkpoints or None)
print("CACHE", __import__("os").environ.get("TF_XLA_FLAGS"))
"""

Train = Callable[..., dict[str, str]]


@pytest.fixture
def train(prepared: Any, tmp_path: Path) -> Train:
    """`train(name, checkpoints="", patched="", **environment)` in a process of its own: the sums
    of the model's files."""

    def run(
        name: str, checkpoints: str | Path = "", patched: str = "", **environment: str
    ) -> dict[str, str]:
        arguments = [str(prepared.examples), str(prepared.vocabulary), str(tmp_path / name)]
        ended = subprocess.run(
            [sys.executable, "-c", _TRAIN, *arguments, str(checkpoints), patched],
            capture_output=True,
            text=True,
            env={
                # Without the cache that a training in this process has named.
                **{name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"},
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                **environment,
            },
        )
        assert ended.returncode == 0, ended.stderr
        return directory_sha256(tmp_path / name / "model")

    return run


def entries(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_warm_cache_compiles_nothing_and_gives_the_bytes_of_a_cold_one(
    train: Train, tmp_path: Path
) -> None:
    cache = tmp_path / "cache" / FOLDER
    without = train("without", TF_XLA_FLAGS=f"--tf_xla_persistent_cache_directory={tmp_path}/own")
    assert not cache.exists(), "the user's own cache went before"
    cold = train("cold")
    kept = entries(cache)
    # Two lengths, in training and in validation.
    assert len(kept) >= 4
    warm = train("warm")
    assert entries(cache) == kept
    assert without == cold == warm

    # Damage of whatever kind: a changed byte, half a file, a file of something else.
    first, second, *rest = kept
    first.write_bytes(kept[first][:-1] + bytes([kept[first][-1] ^ 1]))
    second.write_bytes(kept[second][: len(kept[second]) // 2])
    (first.parent / "foreign").write_text("nothing of XLA's")
    assert train("damaged") == cold
    mended = entries(cache)
    # The same code, compiled again, is written in another order.
    assert {path.name.rpartition(".")[0] for path in mended} == {
        path.name.rpartition(".")[0] for path in kept
    }
    assert len(mended) == len(kept)
    assert {path: mended.get(path) for path in rest} == {path: kept[path] for path in rest}


def test_where_it_cannot_be_kept_training_goes_on(train: Train, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    checkpoints = tmp_path / "checkpoints"
    train("without", checkpoints)
    assert (tmp_path / "cache").is_file() and not checkpoints.exists()


def test_a_killed_training_leaves_it_beside_its_checkpoints(train: Train, tmp_path: Path) -> None:
    checkpoints, cache = tmp_path / "checkpoints", tmp_path / "cache"
    cache.write_text("no folder")
    kill = """
from components.train import train as module
def die(*arguments): sys.exit("killed")
module.write_history = die
"""
    with pytest.raises(AssertionError, match="killed"):
        train("killed", checkpoints, kill)
    assert len(entries(checkpoints / FOLDER)) >= 4
    train("resumed", checkpoints)
    assert not checkpoints.exists()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A kept folder with two entries."""
    (tmp_path / "made" / "autotune").mkdir(parents=True)
    (tmp_path / "made" / "one.pb").write_bytes(b"1" * 600)
    (tmp_path / "made" / "autotune" / "two.pb").write_bytes(b"2" * 600)
    _publish(tmp_path / "made", tmp_path / "kept" / "kind")
    return tmp_path / "kept"


def test_entries_come_back_as_they_were(kept: Path, tmp_path: Path) -> None:
    _take(kept / "kind", tmp_path / "again")
    assert directory_sha256(tmp_path / "again") == directory_sha256(tmp_path / "made")
    before = entries(kept)
    (tmp_path / "made" / "one.pb").write_bytes(b"compiled anew")
    _publish(tmp_path / "made", kept / "kind")
    assert entries(kept) == before, "the first entry of a name stays"


def test_processes_side_by_side_leave_whole_entries(kept: Path, tmp_path: Path) -> None:
    copies = [tmp_path / f"copy-{i}" for i in range(8)]
    for copy in copies:
        copy.mkdir()
        for i in range(20):
            (copy / f"{i}.pb").write_bytes(f"{i}".encode() * 10_000)
    with ThreadPoolExecutor(len(copies)) as threads:
        list(threads.map(lambda copy: _publish(copy, tmp_path / "shared"), copies))
        again = [tmp_path / f"again-{i}" for i in range(8)]
        list(threads.map(lambda copy: _take(tmp_path / "shared", copy), again))
    assert {str(directory_sha256(copy)) for copy in [*copies, *again]} == {
        str(directory_sha256(copies[0]))
    }
    assert len(entries(tmp_path / "shared")) == 20


def test_an_entry_of_another_user_is_not_run(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(kept)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    _take(kept / "kind", tmp_path / "again")
    assert not (tmp_path / "again").exists() and entries(kept) == before


def test_an_entry_that_another_process_writes_is_left_alone(kept: Path, tmp_path: Path) -> None:
    (kept / "kind" / ".x.partial").write_bytes(b"half")
    _take(kept / "kind", tmp_path / "again")
    assert (kept / "kind" / ".x.partial").exists()
    assert not list((tmp_path / "again").glob(".*"))


def test_the_entries_used_longest_ago_go_first(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    [old] = (kept / "kind" / "autotune").iterdir()
    os.utime(old, (1, 1))
    _prune(kept)
    assert [path.name.partition(".")[0] for path in entries(kept)] == ["one"]
