"""minGRU (Feng et al., 2024, "Were RNNs All We Needed?", https://arxiv.org/abs/2410.01201).

    z_t = sigmoid(W_z x_t + b_z)
    g_t = W_h x_t + b_h
    h_t = (1 - z_t) h_{t-1} + z_t g_t,    h_0 = 0

Gate and candidate read the input alone, so that the recurrence is linear in its state.
"""

import tensorflow as tf

from components.shared.linear_recurrence import Form, linear_recurrence

GATES = 2


def min_gru(projected: tf.Tensor, mask: tf.Tensor, form: Form) -> tf.Tensor:
    """Runs a minGRU over time.

    Args:
        projected: `[time, ..., 2 * hidden]`, in the order of reading: W_z x + b_z and W_h x + b_h.
        mask: bool `[time, ..., 1]`: where false, the state stays as it is.
        form: how the recurrence is computed.

    Returns:
        The outputs, float32 `[time, ..., hidden]`.
    """
    gate, candidate = tf.split(tf.cast(projected, tf.float32), 2, axis=-1)
    z = tf.where(mask, tf.sigmoid(gate), 0.0)
    return linear_recurrence(1.0 - z, z * candidate, form)
