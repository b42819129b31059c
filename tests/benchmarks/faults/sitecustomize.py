"""Has the processes of a run meet with a fault: Python imports this module as it starts.

`FAULT` in the environment is a JSON object:
    event, path   the audit event, and the end of the path that it is about (a regular expression)
    nth           which of such events, in one process, from 1
    kill          who is killed, just before it happens: "task" (the process that it happens in),
                  "runner" (its process group) or "all" (and the command that began the run)
    folder        has `command.pid`; gets the file `fired`, after which nothing happens any more
"""

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR


def _install(fault: dict[str, Any]) -> None:
    pattern, folder, seen = re.compile(fault["path"]), Path(fault["folder"]), []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != fault["event"]:
            return
        # Of a renaming, the path that it makes.
        path = arguments[1] if event in ("os.rename", "os.link") else arguments[0]
        if event == "open" and not (arguments[2] or 0) & _WRITING:
            return
        if not isinstance(path, str | os.PathLike) or not pattern.search(os.fspath(path)):
            return
        seen.append(path)
        if len(seen) == fault["nth"]:
            _strike(folder, fault["kill"])

    sys.addaudithook(hook)


def _strike(folder: Path, kill: str) -> None:
    try:
        os.close(os.open(folder / "fired", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    if kill == "all":
        os.kill(int((folder / "command.pid").read_text()), signal.SIGKILL)
    if kill != "task":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("FAULT"):
    _install(json.loads(os.environ["FAULT"]))
