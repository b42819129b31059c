"""What the image for GPUs needs at run time is in it; seen without a GPU.

It takes 6.3 GB, so that it isn't built here: `make image-gpu` builds it, and
`IMDB_PIPELINE_GPU_IMAGE` names it to these tests.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import Engine
from tests.containers.conftest import run_to_end

VARIABLE = "IMDB_PIPELINE_GPU_IMAGE"

_LOOK = """
import ctypes, subprocess
from pathlib import Path
import tensorflow as tf
from components.train.devices import CUDA_LIBRARIES, library

build = tf.sysconfig.get_build_info()
print("cuda", build["cuda_version"], "cudnn", build["cudnn_version"])
# Where XLA looks, relative to TensorFlow's libraries (tsl's CandidateCudaRoots).
root = Path(tf.__file__).parent.parent / "nvidia" / "cuda_nvcc"
code = (root / "nvvm" / "libdevice" / "libdevice.10.bc").read_bytes()
print("libdevice", len(code), code[:2] == b"BC" or code[:4] == bytes.fromhex("dec0170b"))
ptxas = subprocess.run([root / "bin" / "ptxas", "--version"], capture_output=True, text=True)
print("ptxas", ptxas.returncode, ptxas.stdout.splitlines()[-1:])
for name in (*CUDA_LIBRARIES, "libcupti.so.12", "libnccl.so.2"):
    path = library(name)
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    print("library", name, path)
"""

_CUDA_ROOTS = (b"../nvidia/cuda_nvcc", b"../../nvidia/cuda_nvcc")


@pytest.fixture(scope="module")
def gpu_image(engine: Engine) -> str:
    name = os.environ.get(VARIABLE)
    if not name:
        pytest.skip(f"no image for GPUs: build it (make image-gpu) and name it in {VARIABLE}")
    engine.client.images.get(name)
    return name


def run(engine: Engine, image: str, *command: str, **settings: Any) -> tuple[int, str]:
    """Runs a command in a container; its exit status and all that it printed."""
    container = engine.client.containers.create(
        image, list(command), read_only=True, environment={"TF_CPP_MIN_LOG_LEVEL": "3"}, **settings
    )
    return run_to_end(container)


def test_what_xla_and_tensorflow_open_is_there_and_whole(engine: Engine, gpu_image: str) -> None:
    status, text = run(engine, gpu_image, "python", "-c", _LOOK)
    assert status == 0, text
    lines = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    size, is_bitcode = lines["libdevice"].split()
    assert int(size) > 100_000 and is_bitcode == "True"
    assert lines["ptxas"].startswith("0 ['Build cuda_12."), lines["ptxas"]
    found = [line.split()[1:] for line in text.splitlines() if line.startswith("library ")]
    assert len(found) == 9 and all("/nvidia/" in path for _, path in found), found
    print(text)  # The list, for whoever looks.


def test_xla_looks_where_the_wheels_put_it() -> None:
    """The paths are in this environment's TensorFlow, which is the image's."""
    import mmap

    import tensorflow as tf

    path = Path(tf.__file__).parent / "libtensorflow_cc.so.2"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert all(content.find(root) >= 0 for root in _CUDA_ROOTS)


def test_without_a_gpu_it_names_the_driver_and_not_the_image(
    engine: Engine, gpu_image: str, tmp_path: Path
) -> None:
    for name in ("examples", "vocabulary"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o777)
    folders = "--examples examples --vocabulary vocabulary --model model --model-run run".split()
    volumes = {str(tmp_path): {"bind": "/data", "mode": "rw"}}
    status, text = run(engine, gpu_image, "train", "--accelerators", "1", *folders, volumes=volumes)
    assert status == 1, text
    assert "accelerators: 1 promised" in text and "there is no NVIDIA driver here" in text
    assert "lacks CUDA" not in text
