"""Parts of a replica's batch that the cores of a CPU compute side by side.

Much of what a step does is too small, one step of a recurrence above all, for XLA to share it out
over cores. A GPU has its own ways to be busy. The number of parts is no matter of the machine, so
that the bytes aren't either.
"""

import math

import tensorflow as tf

from components.shared.recurrent_layer import Target

_CPU_SHARDS = 2


def target_of(strategy: tf.distribute.Strategy) -> Target:
    """What a strategy's replicas run on."""
    on_cpu = all("CPU" in device for device in strategy.extended.worker_devices)
    return "cpu" if on_cpu else "gpu"


def has_bfloat16(target: Target) -> bool:
    """Whether the devices compute in bfloat16: NVIDIA's from compute capability 8.0 on."""
    details = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    capabilities = [detail.get("compute_capability", (0, 0)) for detail in details]
    return target == "gpu" and all(capability >= (8, 0) for capability in capabilities)


def shards_of(rows: int, strategy: tf.distribute.Strategy) -> list[slice]:
    """The equal parts of the `rows` rows of one replica's batch, one after the other.

    It is one part on a GPU, and where there are as many replicas as there would be parts.
    """
    on_cpu = target_of(strategy) == "cpu"
    wanted = max(1, _CPU_SHARDS // strategy.num_replicas_in_sync) if on_cpu else 1
    size = rows // math.gcd(rows, wanted)
    return [slice(first, first + size) for first in range(0, rows, size)]
