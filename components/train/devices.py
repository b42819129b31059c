"""The devices that training runs on: found, held to what was promised, and described."""

import ctypes
import os
import platform
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.shared.accelerators import hidden_by_environment, promised_accelerators
from components.shared.errors import Failure
from components.train.gpu_flags import set_gpu_flags

CUDA_LIBRARIES = (
    *("libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11"),
    *("libcusolver.so.11", "libcusparse.so.12", "libcudnn.so.9"),
)
"""What TensorFlow 2.21 opens before it registers a GPU; without one of them it registers none
(`DsoLoader::MaybeTryDlopenGPULibraries`)."""

_GPU_SHAPE_COST = 100_000
_DRIVER_LIBRARY = "libcuda.so.1"
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_WHEELS = Path(tf.__file__).parent.parent / "nvidia"
_PROCESSORS = Path("/proc/cpuinfo")


class MissingAccelerators(Failure):
    """Training sees fewer accelerators than it was promised."""


def require_accelerators(configured: int) -> None:
    """Checks that there are as many accelerators as training was promised.

    Args:
        configured: the configuration's `accelerators`.

    Raises:
        MissingAccelerators: there are fewer; the message names the cause as far as it can be known.
    """
    promised = promised_accelerators(configured)
    seen = len(tf.config.get_visible_devices("GPU")) if promised else 0
    if seen < promised:
        raise MissingAccelerators(
            f"accelerators: {promised} promised, and TensorFlow sees {seen}: "
            f"{'; '.join(_causes(promised, seen))}. To train on the CPU, promise none"
        )


def _causes(promised: int, seen: int) -> list[str]:
    """Why TensorFlow sees fewer GPUs than promised, with what to do about it."""
    causes = []
    if hidden := hidden_by_environment(promised):
        causes.append(f"{hidden} hides GPUs; unset it")
    if not tf.test.is_built_with_cuda():
        causes.append("this TensorFlow is built without CUDA; install the project's extra gpu")
    elif missing := [name for name in CUDA_LIBRARIES if library(name) is None]:
        causes.append(
            f"this image or installation lacks CUDA ({', '.join(missing)}); use the image for GPUs "
            "(make image-gpu), or install the project's extra gpu"
        )
    if not _DRIVER_FILE.exists() and not _can_be_opened(_DRIVER_LIBRARY):
        causes.append(
            f"there is no NVIDIA driver here ({_DRIVER_LIBRARY}); the node needs one, and the "
            "container NVIDIA's runtime"
        )
    if not causes:
        shows = "no GPU" if seen == 0 else "no more of them"
        causes.append(f"the driver shows {shows}; nvidia-smi in the same place says more")
    return causes


def library(name: str) -> str | None:
    """Where TensorFlow finds a CUDA library: in NVIDIA's wheels, or where the linker looks.

    Returns:
        Its path in the wheels, or its name where the linker opens it; None where it is missing.
    """
    found = next(_WHEELS.glob(f"*/lib/{name}"), None)
    if found is not None:
        return str(found)
    return name if _can_be_opened(name) else None


def _can_be_opened(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def share_memory() -> None:
    """Has TensorFlow take a GPU's memory as it is needed, so that two tasks can share a card.

    It takes effect where TensorFlow has not used a GPU yet. What the user has set stays.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def make_strategy() -> tf.distribute.MirroredStrategy:
    """A MirroredStrategy over all GPUs, else over all logical CPUs."""
    set_gpu_flags()
    gpus = tf.config.list_logical_devices("GPU")
    if gpus and len(gpus) == len(tf.config.get_visible_devices("GPU")):
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    # NCCL refuses two logical devices of one GPU, and the default between CPUs, a collective
    # all-reduce, mixes up gradients of several shapes.
    return tf.distribute.MirroredStrategy(
        [device.name for device in gpus or tf.config.list_logical_devices("CPU")],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def shape_cost(strategy: tf.distribute.Strategy) -> int:
    """How many time steps of a batch take as long as it takes to compile a shape.

    On a GPU that is 9 s, as a step of an LSTM over 400 time steps takes 27 to 37 ms. On a CPU,
    where the time goes to arithmetic, padding costs more than a shape: 0 stands for none.
    """
    return 0 if _on_cpu(strategy) else _GPU_SHAPE_COST


def describe_devices(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """What a strategy trains on, as JSON values.

    Returns:
        `kind` ("GPU" or "CPU"), `count` (replicas), and `name`, the model's, of several models
        all of them.
    """
    if _on_cpu(strategy):
        kind, names = "CPU", [_processor()]
    else:
        kind, names = "GPU", [_gpu_name(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    return {
        "kind": kind,
        "count": strategy.num_replicas_in_sync,
        "name": ", ".join(sorted(set(names))),
    }


def _on_cpu(strategy: tf.distribute.Strategy) -> bool:
    return all("CPU" in device for device in strategy.extended.worker_devices)


def _gpu_name(gpu: tf.config.PhysicalDevice) -> str:
    details = tf.config.experimental.get_device_details(gpu)
    return str(details.get("device_name", "unknown"))


def _processor() -> str:
    lines = _PROCESSORS.read_text().splitlines() if _PROCESSORS.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
