"""Lets the disk of a run fill up at several sizes, and resumes the run on a larger one.

    python tests/benchmarks/full_disk.py [--json FILE]

The run's folder and the serving directory lie on a small tmpfs, in a mount namespace of its own,
which takes Linux and the right to make user namespaces. Each time the run must end with exit status
1 and a line that says that the disk is full, and once there is room go on to the very bytes that it
makes on a large disk.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.kills import Bench

SHARES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
"""Sizes of the disk, as shares of what the whole run takes."""

_MESSAGE = "the disk is full"


def main() -> int:
    """Runs the bench; 0 where every comparison held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is None:
        folder = tempfile.mkdtemp(prefix="full-disk-")
        inside = [sys.executable, __file__, *sys.argv[1:], "--folder", folder]
        try:
            return subprocess.call(["unshare", "--map-root-user", "--mount", *inside])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    answer = bench(Bench(options.folder, per_class=300), options.shares)
    print(json.dumps(answer, indent=2))
    if options.json:
        options.json.write_text(json.dumps(answer, indent=2) + "\n")
    return 0 if all(case["equal"] and case["told"] for case in answer["cases"]) else 1


def bench(bench: Bench, shares: list[float]) -> dict[str, Any]:
    """One case for each size."""
    status, _ = bench.attempt("reference", None)
    if status:
        raise SystemExit("the run on a large disk failed")
    expected = bench.products("reference")
    reference = bench.folder / "reference"
    whole = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    cases = []
    for share in shares:
        name = f"disk-{share:g}"
        disk = bench.folder / name
        disk.mkdir()
        _mount(disk, f"size={int(whole * share)}")
        status, _ = bench.attempt(name, None)
        output = (bench.folder / f"attempt-{bench.attempts}" / "output").read_text()
        bench.check_serving_dir(name)
        kept = sorted(bench.finished(name))
        _mount(disk, "remount,size=4g")
        resumed, _ = bench.attempt(name, None)
        case = {
            "share": share,
            "status": status,
            "told": status == 1 and _MESSAGE in output and "Traceback" not in output,
            "kept": kept,
            "resumed": resumed,
            "equal": resumed == 0 and bench.products(name) == expected,
        }
        print(json.dumps(case), flush=True)
        if not case["told"]:
            print(output[-2000:], flush=True)
        cases.append(case)
    return {"bytes": whole, "cases": cases}


def _mount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
