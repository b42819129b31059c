"""XLA's flags for GPUs, which hold for the TensorFlow that is locked: XLA ends at one it lacks."""

import os

import tensorflow as tf

_VARIABLE = "XLA_FLAGS"
_FLAGS = {
    # Where operations have to be deterministic XLA can't measure which of its own kernels for
    # products of matrices suits a shape, and takes one that is slow; cuBLAS chooses by rules.
    "--xla_gpu_enable_triton_gemm": "false",
}


def set_gpu_flags() -> None:
    """Sets the flags where there is a GPU, but those that the user has set.

    XLA reads them when it compiles for the first time in a process.
    """
    if not tf.config.list_physical_devices("GPU"):
        return
    own = os.environ.get(_VARIABLE, "")
    names = {flag.partition("=")[0] for flag in own.split()}
    added = [f"{name}={value}" for name, value in _FLAGS.items() if name not in names]
    os.environ[_VARIABLE] = " ".join([*own.split(), *added])
