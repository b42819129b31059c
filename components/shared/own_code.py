"""The environment in which a Python process runs this project's code."""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the packages `pipeline` and `components`."""


def own_code_first(current: Mapping[str, str]) -> dict[str, str]:
    """Variables by which Python runs this code, installed or not, before any other of its names.

    What lies in the folder that the process runs in is not run.

    Args:
        current: the environment so far; its PYTHONPATH is kept, after this code.
    """
    others = [path for path in current.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = [str(ROOT), *(path for path in others if path != str(ROOT))]
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
