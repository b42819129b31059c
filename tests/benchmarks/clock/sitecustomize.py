"""Put on PYTHONPATH: notes how long a process imports, and how long the task in it works.

Each process leaves a JSON file in the folder that BENCHMARK_CLOCK names. A task's work is what
happens in its `task_boundary`, less the imports within.
"""

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOADING: Any = sys.modules["_frozen_importlib"]
_MAIN = threading.main_thread()
_noted: dict[str, Any] = {"pid": os.getpid(), "started": time.time(), "imports_s": 0.0}
_depth = 0


def _timed_find_and_load(name: str, import_: Any) -> Any:
    global _depth
    if threading.current_thread() is not _MAIN:
        return _find_and_load(name, import_)
    started = time.time()
    _depth += 1
    try:
        return _find_and_load(name, import_)
    finally:
        _depth -= 1
        if _depth == 0:
            _noted["imports_s"] += time.time() - started
            _time_task_boundary()


def _time_task_boundary() -> None:
    errors = sys.modules.get("components.shared.errors")
    if errors is None or hasattr(errors, "untimed_task_boundary"):
        return
    untimed = errors.__dict__["untimed_task_boundary"] = errors.__dict__["task_boundary"]

    @contextmanager
    def task_boundary() -> Iterator[None]:
        started, imports = time.time(), _noted["imports_s"]
        try:
            with untimed():
                yield
        finally:
            ended = time.time()
            work = ended - started - (_noted["imports_s"] - imports)
            _noted.update(work_started=started, work_ended=ended, work_s=work)

    errors.__dict__["task_boundary"] = task_boundary


def _write(folder: str) -> None:
    _noted.update(ended=time.time(), arguments=sys.argv)
    Path(folder, f"{os.getpid()}-{time.time_ns()}.json").write_text(json.dumps(_noted))


if folder := os.environ.get("BENCHMARK_CLOCK"):
    _find_and_load = _LOADING._find_and_load
    _LOADING._find_and_load = _timed_find_and_load
    atexit.register(_write, folder)
