"""The LSTM over time as one operation, for inference where XLA can't compile the loop: in a server.

`BlockLSTMV2` is an operation of TensorFlow's core, with kernels for CPU and GPU and the gates in
Keras's order. One review takes it a fraction of the time of the loop in `recurrence`, whose many
small operations cost more to launch than to do.
"""

import tensorflow as tf


def block_lstm(
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    backward: bool,
) -> tf.Tensor:
    """Runs an LSTM, from a state of zeros, over sequences that are padded on the right.

    Args:
        inputs: float32 `[time, batch, width]`.
        lengths: int32 `[batch]`, the steps of each sequence.
        kernel: float32 `[width, 4 * hidden]`.
        recurrent_kernel: float32 `[hidden, 4 * hidden]`.
        bias: float32 `[4 * hidden]`.
        backward: whether it reads each sequence from its end.

    Returns:
        The outputs, float32 `[time, batch, hidden]`. Behind the last step of a sequence they are
        those of its last step, or, of one that is read from its end, zeros.
    """
    if backward:
        inputs = tf.reverse_sequence(inputs, lengths, seq_axis=0, batch_axis=1)
    hidden = recurrent_kernel.shape[0]
    zeros = tf.zeros([tf.shape(inputs)[1], hidden])
    unused = tf.zeros([hidden])
    outputs = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.shape(inputs, tf.int64)[0],
        x=inputs,
        cs_prev=zeros,
        h_prev=zeros,
        w=tf.concat([kernel, recurrent_kernel], axis=0),
        wci=unused,
        wcf=unused,
        wco=unused,
        b=bias,
        cell_clip=0.0,
    ).h

    valid = tf.sequence_mask(lengths, tf.shape(inputs)[0])
    valid = tf.transpose(valid)[..., tf.newaxis]
    if backward:
        outputs = tf.reverse_sequence(outputs, lengths, seq_axis=0, batch_axis=1)
        return tf.where(valid, outputs, 0.0)
    rows = tf.range(tf.shape(lengths)[0])
    last = tf.gather_nd(outputs, tf.stack([lengths - 1, rows], axis=1))
    return tf.where(valid, outputs, last)
