"""The console script `imdb-pipeline`.

A package of its own, for its name is nobody else's: what is called `pipeline` on PYTHONPATH may be
another project's.
"""

import sys
from pathlib import Path


def main() -> int:
    """Runs the command line of the package `pipeline` that lies beside this one."""
    root = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(0, root)
    try:
        from pipeline import entry
    finally:
        sys.path.remove(root)
    return entry.main()
