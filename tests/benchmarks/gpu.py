"""Training steps on a GPU beside Keras's `fit` and PyTorch's cuDNN recurrences, on the same card.

    python tests/benchmarks/gpu.py [--torch-python python3] [--rows NAME ...] [--at-once 9]
                                   [--json FILE]

A row is a recurrence, its units, the batch and the time steps. All sides train the same model on
the same made-up token ids: embeddings of width 128 for 30,000 tokens, the recurrence in both
directions (one in `simple_rnn`'s row), the mean of its outputs over time, a logit, and Adam.
float32 allows TensorFloat-32 on all sides. The trainer's operations are deterministic but in
`loose`, which shows what that costs; Keras and PyTorch run as they do by default.

Each side is a process of its own. Some start and compile at once, as that is what takes the time;
when all of them are ready they are timed one after the other, the others asleep. PyTorch's side
runs under `--torch-python`, and is left out where that can't import torch. It needs no network and
takes at most five minutes.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

Run = Callable[[int], None]
"""Takes so many steps, and waits for the last."""

VOCABULARY, WIDTH, SEED = 30_000, 128, 7
TIMED = 20
"""Steps, after as many as it takes to compile them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is trained."""

    cell: str
    units: int
    batch: int
    time: int = 400
    precision: str = "float32"
    deterministic: bool = True

    @property
    def bidirectional(self) -> bool:
        return self.cell != "simple_rnn"


WORK = {
    "lstm 16, 128": Work(cell="lstm", units=16, batch=128),
    "lstm 64, 128": Work(cell="lstm", units=64, batch=128),
    "lstm 64, 512": Work(cell="lstm", units=64, batch=512),
    "lstm 256, 512": Work(cell="lstm", units=256, batch=512),
    "lstm 512, 512": Work(cell="lstm", units=512, batch=512),
    "gru 64, 128": Work(cell="gru", units=64, batch=128),
    "simple_rnn 64, 32, 200 steps": Work(cell="simple_rnn", units=64, batch=32, time=200),
    "min_gru 64, 512": Work(cell="min_gru", units=64, batch=512),
    "min_gru 256, 512": Work(cell="min_gru", units=256, batch=512),
    "lstm 512, 512, bfloat16": Work(cell="lstm", units=512, batch=512, precision="bfloat16"),
    "loose lstm 64, 128": Work(cell="lstm", units=64, batch=128, deterministic=False),
}
PEERS = tuple(
    name
    for name, work in WORK.items()
    if work.cell != "min_gru" and work.precision == "float32" and work.deterministic
)


def main() -> int:
    """Measures all rows, or one side where `--side` says so; the exit status."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--torch-python", default=sys.executable, help="one that has PyTorch")
    arguments.add_argument("--rows", nargs="*", choices=WORK, default=list(WORK))
    arguments.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES))
    arguments.add_argument("--at-once", type=int, default=9, help="processes that compile at once")
    arguments.add_argument("--json", type=Path, help="a file for the figures")
    # How the benchmark starts itself for one side.
    arguments.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments.add_argument("--name", choices=WORK, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.side:
        return run_side(SIDES[options.side], WORK[options.name])
    sides = [
        (side, name)
        for side in options.sides
        for name in options.rows
        if side == "trainer" or name in PEERS
    ]
    figures: dict[str, dict[str, float]] = {name: {} for name in options.rows}
    for first in range(0, len(sides), options.at_once):
        group = sides[first : first + options.at_once]
        for (side, name), milliseconds in measure_together(group, options.torch_python):
            figures[name][side] = milliseconds
            print(f"{side:8} {name:30} {milliseconds:9.2f} ms", file=sys.stderr, flush=True)
    report(figures, options.json)
    return 0


def measure_together(
    sides: list[tuple[str, str]], torch_python: str
) -> Iterator[tuple[tuple[str, str], float]]:
    """Starts processes at once and times them in turns: milliseconds a step of each that can."""
    started = []
    with contextlib.ExitStack() as processes:
        for side, name in sides:
            # A file, as nobody reads a pipe meanwhile.
            errors = processes.enter_context(tempfile.TemporaryFile("w+"))
            process = _start(side, name, torch_python, errors)
            processes.callback(process.wait)
            processes.callback(process.kill)
            started.append(((side, name), process, errors))
        ready = [_says(process, "ready") for _, process, _ in started]
        for (key, process, errors), is_ready in zip(started, ready, strict=True):
            output, _ = process.communicate("go\n" if is_ready else None)
            if is_ready and process.returncode == 0:
                yield key, json.loads(output.splitlines()[-1])
            else:
                errors.seek(0)
                end = errors.read()[-600:]
                print(f"left out: {' '.join(key)}: {end}", file=sys.stderr, flush=True)


def _start(side: str, name: str, torch_python: str, errors: IO[str]) -> subprocess.Popen[str]:
    """Starts the process of one side."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", TF_FORCE_GPU_ALLOW_GROWTH="true")
    python = sys.executable
    if side == "torch" and torch_python != sys.executable:
        python = torch_python
        for variable in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH"):
            environment.pop(variable, None)
    return subprocess.Popen(
        [python, __file__, "--side", side, "--name", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
    )


def _says(process: subprocess.Popen[str], word: str) -> bool:
    assert process.stdout
    return any(line.strip() == word for line in iter(process.stdout.readline, ""))


def run_side(side: Callable[[Work], Run], work: Work) -> int:
    """Compiles, waits until it may, and prints the milliseconds of a step; the exit status."""
    run = side(work)
    run(3)
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        return 1
    times = []
    for _ in range(3):
        run(1)
        started = time.perf_counter()
        run(TIMED)
        times.append((time.perf_counter() - started) * 1000 / TIMED)
    print(json.dumps(statistics.median(times)))
    return 0


def make_reviews(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """Token ids, int32 `[batch, time]`, as often as words are in a text, and labels."""
    random = np.random.default_rng(SEED)
    ranks = np.minimum(random.pareto(0.9, size=(work.batch, work.time)) * 20, VOCABULARY - 3)
    labels = random.integers(0, 2, work.batch).astype(np.float32)
    return (2 + ranks).astype(np.int32), labels


def trainer(work: Work) -> Run:
    """The pipeline's own step."""
    import tensorflow as tf

    from components.shared.config import TrainConfig
    from components.train.batches import Batch
    from components.train.devices import make_strategy
    from components.train.train import build_model
    from components.train.trainer import Trainer

    if work.deterministic:
        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(SEED)
    config = TrainConfig.from_mapping(
        {
            "cell": work.cell,
            "bidirectional": work.bidirectional,
            "hidden_size": work.units,
            "embedding_size": WIDTH,
            "pooling": "mean",
            "dropout_rate": 0.0,
            "precision": work.precision,
        }
    )
    strategy = make_strategy()
    with strategy.scope():
        model = build_model(config, VOCABULARY, np.zeros(0, np.int64))
    own = Trainer(model, config, strategy)
    token_ids, labels = make_reviews(work)
    batch = Batch(token_ids, labels, np.ones(work.batch, np.float32))

    def run(steps: int) -> None:
        for _ in range(steps):
            result = own.train_batch(batch, 1e-3)
        result.numpy()

    return run


def fit(work: Work) -> Run:
    """Keras's `fit`, of as many steps an epoch."""
    import keras
    import tensorflow as tf

    layers = {
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
        "simple_rnn": keras.layers.SimpleRNN,
    }
    layer = layers[work.cell](work.units, return_sequences=True)
    model = keras.Sequential(
        [
            keras.layers.Embedding(VOCABULARY, WIDTH),
            keras.layers.Bidirectional(layer) if work.bidirectional else layer,
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    data = tf.data.Dataset.from_tensors(tuple(map(tf.constant, make_reviews(work)))).repeat()
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0) and None


def torch(work: Work) -> Run:
    """PyTorch's layers, which run on cuDNN."""
    pytorch = import_module("torch")
    nn = pytorch.nn

    class Model(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            layer = {"lstm": nn.LSTM, "gru": nn.GRU, "simple_rnn": nn.RNN}[work.cell]
            both = work.bidirectional
            self.layer = layer(WIDTH, work.units, bidirectional=both, batch_first=True)
            self.output = nn.Linear(work.units * (1 + both), 1)

        def forward(self, token_ids: Any) -> Any:
            outputs, _ = self.layer(self.embedding(token_ids))
            return self.output(outputs.mean(dim=1))[:, 0]

    pytorch.set_float32_matmul_precision("high")
    device = pytorch.device("cuda")
    model = Model().to(device)
    optimizer = pytorch.optim.Adam(model.parameters(), fused=True)
    token_ids, labels = (pytorch.as_tensor(a, device=device) for a in make_reviews(work))
    loss_of = nn.BCEWithLogitsLoss()

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(token_ids), labels).backward()
            optimizer.step()
        pytorch.cuda.synchronize()

    return run


SIDES: dict[str, Callable[[Work], Run]] = {
    "trainer": trainer,
    "fit": fit,
    "torch": torch,
}


def report(figures: dict[str, dict[str, float]], path: Path | None) -> None:
    """Prints the table, and writes it as JSON."""
    card = _card()
    print(f"\na training step on {card}: milliseconds (reviews a second)\n")
    print(f"{'':32} {'trainer':>20} {'Keras fit':>20} {'PyTorch':>20}  {'/fit':>6} {'/torch':>6}")
    for name, sides in figures.items():
        cells = [_cell(sides.get(side), WORK[name].batch) for side in ("trainer", "fit", "torch")]
        ratios = [_ratio(sides, peer) for peer in ("fit", "torch")]
        print(f"{name:32} {cells[0]:>20} {cells[1]:>20} {cells[2]:>20}  {ratios[0]:>6} {ratios[1]}")
    print("\n/fit, /torch: how many times as fast the trainer is")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"benchmark": "gpu", "card": card, "ms": figures}, indent=2))


def _cell(milliseconds: float | None, batch: int) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.2f} ({batch * 1000 / milliseconds:,.0f})"


def _ratio(sides: dict[str, float], peer: str) -> str:
    if peer not in sides or "trainer" not in sides:
        return ""
    return f"{sides[peer] / sides['trainer']:.2f}"


def _card() -> str:
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no GPU"


if __name__ == "__main__":
    sys.exit(main())
