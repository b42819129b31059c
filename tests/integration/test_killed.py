"""A run that is killed with SIGKILL and resumed; `tests/benchmarks/kills.py` does it 50 times."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "benchmarks" / "kills.py"
MOMENTS = (
    "ingest is marked",
    "checkpoint 1 appears",
    "evaluate gives evaluation",
    "between commit and publication",
)


def test_killed_and_resumed_it_makes_the_same_bytes_and_repeats_nothing(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    command = [sys.executable, str(BENCH), "--json", str(answer), "--only", *MOMENTS]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found = json.loads(answer.read_text())
    assert set(found["struck"]) == set(MOMENTS) and found["runs"] == 1
    assert found["differences"] == []
