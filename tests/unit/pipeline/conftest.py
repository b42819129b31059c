"""A small pipeline that KFP really runs: a task that does as it is told, and one behind a gate."""

from pathlib import Path

import pytest
from kfp import compiler, dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def work(outcome: str, config: dict, product: dsl.Output[dsl.Artifact]) -> bool:
    import os
    import signal
    import sys
    from pathlib import Path

    from components.shared import events
    from components.shared.errors import InputError, task_boundary

    waiting = sys.stdin.read() or "nothing"
    print(f"at work on {config['rows']:.0f} rows of {config['name']}, {waiting} to read")
    print("a warning of some library", file=sys.stderr)
    product_path = Path(product.path)
    staging = product_path.with_name(".product.partial")
    staging.mkdir(parents=True)
    if outcome == "waits":
        os.mkfifo(product_path.with_name("never"))
        events.progress(str(os.getpid()))
        product_path.with_name("never").read_bytes()
    events.progress("half done")
    with task_boundary():
        if outcome == "input error":
            raise InputError("the reviews: too few; add some")
        if outcome == "full disk":
            raise OSError(28, os.strerror(28), "product")
    if outcome == "bug":
        raise ValueError("a bug")
    if outcome == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    staging.rename(product_path)
    events.figure("all done")
    return outcome == "blessed"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def after(product: dsl.Input[dsl.Artifact]):
    from pathlib import Path

    print("found", Path(product.path).exists())


@dsl.pipeline(name="small")
def small(outcome: str, config: dict):
    worked = work(outcome=outcome, config=config)
    with dsl.If(worked.outputs["Output"] == True, name="gate"):  # noqa: E712
        after(product=worked.outputs["product"])


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline, compiled."""
    path = tmp_path_factory.mktemp("package") / "small.yaml"
    compiler.Compiler().compile(small, str(path))
    return path
