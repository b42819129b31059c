"""The cache of what XLA compiled, which a later process of the same kind starts from.

A process works on a copy of its own, in a temporary folder: XLA fails a training whose cache it
can't read or write. At first the entries of the kept folders go into the copy; later the new ones
are published there, each under a name that ends in its SHA-256. So a damaged entry is passed over,
processes side by side lose nothing, and a folder that can't be written to costs nothing.

Compiled code runs only on the kind of device that it was compiled for, and depends on flags that
XLA's own keys leave out: a digest of all of these names the folder.
"""

import glob
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf

FOLDER = "imdb-pipeline/xla"
"""The kept folder, within the user's cache directory or that of the checkpoints."""
MAX_BYTES = 1 << 28
"""What a kept folder may hold; the entries that were used longest ago go first."""

_ROOM = 1 << 28
_ABANDONED_AFTER = 3600
"""Bytes that the temporary folder must have free."""
_PROCESSORS = Path("/proc/cpuinfo")
_PROCESSOR_KEYS = ("model name", "flags", "Features", "CPU implementer", "CPU part")
_DRIVER = Path("/proc/driver/nvidia/version")
_FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS")


@contextmanager
def compilation_cache(checkpoint_dir: Path | None) -> Iterator[Callable[[], None]]:
    """Has XLA take what it compiles in the block from the kept folders, as far as it is there.

    They are `FOLDER` in the user's cache directory and in `checkpoint_dir`: a pod that is tried
    again has nothing else left. Nothing is done where the user's own flags name a cache, or there
    is no room for one. All other flags must have been set before.

    Args:
        checkpoint_dir: where checkpoints are kept; None for none.

    Yields:
        What publishes the entries that are new since; called at the end of the block, too.
    """
    own = prepare_compilation_cache()
    if own is None:
        yield lambda: None
        return
    copy, kind = Path(own.name), _kind(own.name)
    roots = _kept_folders(checkpoint_dir)
    for root in roots:
        with suppress(OSError):
            _take(root / kind, copy)

    def publish() -> None:
        for root in roots:
            with suppress(OSError):
                _publish(copy, root / kind)
                _prune(root)

    try:
        yield publish
    finally:
        publish()


@cache
def prepare_compilation_cache() -> tempfile.TemporaryDirectory[str] | None:
    """Makes the folder of this process, and names it in TensorFlow's flags, at the first call.

    TensorFlow reads them once, when it first looks for devices: call this before.

    Returns:
        The folder; None where there is no room for it, or the user's flags name another.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return None
    try:
        folder = tempfile.gettempdir()
        # TensorFlow cuts its flags at blanks and quotes.
        if shutil.disk_usage(folder).free < _ROOM or set(folder) & set(" \t\n'\"\\"):
            return None
        own = tempfile.TemporaryDirectory(prefix="imdb-pipeline-xla-")
    except OSError:
        return None
    flag = f"--tf_xla_persistent_cache_directory={own.name}"
    os.environ["TF_XLA_FLAGS"] = f"{flags} {flag}".strip()
    return own


def _kind(own: str) -> str:
    """A digest of all that compiled code depends on beside what was compiled.

    Args:
        own: the folder of this process, which the flags name.
    """
    lines = _PROCESSORS.read_text().splitlines() if _PROCESSORS.exists() else []
    gpus = tf.config.get_visible_devices("GPU")
    facts: dict[str, Any] = {
        "tensorflow": tf.__version__,
        "flags": {name: os.environ.get(name, "").replace(own, "") for name in _FLAGS},
        "machine": [platform.system(), platform.machine(), platform.processor()],
        "processor": sorted({line for line in lines if line.startswith(_PROCESSOR_KEYS)}),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "gpus": [tf.config.experimental.get_device_details(gpu) for gpu in gpus],
        "driver": _DRIVER.read_text() if _DRIVER.exists() else None,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _kept_folders(checkpoint_dir: Path | None) -> list[Path]:
    roots = [checkpoint_dir / FOLDER] if checkpoint_dir else []
    with suppress(RuntimeError):  # The user may have no home.
        roots.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / FOLDER)
    return roots


def _take(kept: Path, copy: Path) -> None:
    """Copies the entries of a kept folder, but those that are damaged or another user's."""
    for path in _entries(kept):
        name, _, digest = path.name.rpartition(".")
        if path.stat().st_uid != os.geteuid():
            continue
        target = copy / path.relative_to(kept).parent / name
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            path.unlink()
        elif not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            path.touch()


def _entries(kept: Path) -> list[Path]:
    """The files of a kept folder, without those that are being written."""
    return [
        path
        for path in sorted(kept.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    ]


def _publish(copy: Path, kept: Path) -> None:
    """Adds the entries that a kept folder lacks."""
    for path in copy.rglob("*"):
        folder = kept / path.relative_to(copy).parent
        if not path.is_file() or any(folder.glob(f"{glob.escape(path.name)}.*")):
            continue
        content = path.read_bytes()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(prefix=".", suffix=".partial", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(staging).replace(folder / f"{path.name}.{hashlib.sha256(content).hexdigest()}")
        finally:
            Path(staging).unlink(missing_ok=True)


def _prune(root: Path) -> None:
    """Removes the entries that were used longest ago, of whatever kind, down to `MAX_BYTES`."""
    for path in root.rglob(".*.partial"):
        # Of a process that was killed.
        if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
            path.unlink(missing_ok=True)
    known = [(path.stat(), path) for path in _entries(root)]
    total = 0
    for status, path in sorted(known, key=lambda entry: -entry[0].st_mtime_ns):
        total += status.st_size
        if total > MAX_BYTES:
            path.unlink(missing_ok=True)
