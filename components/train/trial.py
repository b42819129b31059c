"""One trial of a sweep: training in a process of its own, so that its end is a result, too.

On a cluster, a task that fails keeps what is left of its loop from running.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.artifacts import read_json, write_json
from components.shared.config import TrainConfig
from components.shared.errors import Failure, InputError, storage_message
from components.shared.own_code import own_code_first

_NOT_ITS_FAULT = "failure"
_ERROR = "error"


def try_out(
    examples: str | Path,
    vocabulary: str | Path,
    config: Mapping[str, Any],
    model_run: str | Path,
    checkpoint_dir: str | Path,
) -> dict[str, Any]:
    """Trains as `train` does, and keeps the figures without the model.

    Args:
        examples: see `train`.
        vocabulary: see `train`.
        config: a TrainConfig as JSON.
        model_run: the folder to make with `history.json` and so on; empty where training failed.
        checkpoint_dir: see `train`.

    Returns:
        The figures of the best epoch, `best_epoch`, `epochs` (how many were trained) and
        `validation_reviews`; or `error`, why there are none.

    Raises:
        Failure: what isn't the configuration's fault: the disk is full or can't be written to, or
            there are fewer accelerators than promised.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        request = {
            "examples": str(examples),
            "vocabulary": str(vocabulary),
            "config": dict(config),
            "model": str(Path(scratch) / "model"),
            "model_run": str(model_run),
            "checkpoint_dir": str(checkpoint_dir),
        }
        command = [sys.executable, "-m", "components.train.trial", str(answer)]
        environment = {**os.environ, **own_code_first(os.environ)}
        status = subprocess.run(
            command, input=json.dumps(request), text=True, env=environment
        ).returncode
        found: dict[str, Any] = read_json(answer) if answer.exists() else {_ERROR: _end(status)}
    if _NOT_ITS_FAULT in found:
        raise Failure(found[_NOT_ITS_FAULT])
    if _ERROR in found:
        Path(model_run).mkdir(parents=True, exist_ok=True)
    return found


def _end(status: int) -> str:
    if status < 0:
        return f"killed by signal {-status}; out of memory, most likely"
    return f"ended with status {status}; its log says more"


def _train(request: Mapping[str, Any]) -> dict[str, Any]:
    from components.shared.features import read_examples
    from components.train.devices import MissingAccelerators
    from components.train.train import train

    try:
        config = TrainConfig.from_mapping(request["config"])
        places = {name: value for name, value in request.items() if name != "config"}
        history = train(config=config, **places)
    except MissingAccelerators as error:
        return {_NOT_ITS_FAULT: str(error)}
    except (InputError, Failure) as error:
        return {_ERROR: str(error)}
    except Exception as error:
        if message := storage_message(error):
            return {_NOT_ITS_FAULT: message}
        import traceback

        traceback.print_exc()
        return {_ERROR: f"{type(error).__name__}; its log says more"}
    return {
        **history["epochs"][history["best_epoch"] - 1],
        "best_epoch": history["best_epoch"],
        "epochs": len(history["epochs"]),
        "validation_reviews": len(read_examples(request["examples"], "validation")),
    }


if __name__ == "__main__":
    write_json(sys.argv[1], _train(json.loads(sys.stdin.read())))
