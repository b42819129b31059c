"""Starts the command line with this project's own packages, whatever others have their names."""

import os
import sys
from pathlib import Path


def main() -> int:
    """Runs a command; its processes find the project's own packages first, too.

    Another package `components`, in the working directory or on PYTHONPATH, is passed over: once
    a package is imported, its modules are found in its own folder.

    Returns:
        The exit status.
    """
    root = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(0, root)
    try:
        from components.shared.own_code import own_code_first
    finally:
        sys.path.remove(root)
    os.environ |= own_code_first(os.environ)
    from pipeline.cli import main

    return main()
