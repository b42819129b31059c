"""Adam under a distribution strategy, with lazy updates of embedding tables."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from components.train.distinct import rows_of

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class Adam:
    """Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980), with Keras's constants.

    A table's gradient, given as IndexedSlices, changes the rows in it and their moments alone (the
    "lazy" variant), while Keras's Adam moves every row of a table at every step.

    Args:
        variables: what is optimized; made, like this, under the strategy's scope.
        clip_norm: the global norm to which gradients are clipped, None for no clipping.
    """

    def __init__(self, variables: Sequence[tf.Variable], clip_norm: float | None) -> None:
        self._variables = list(variables)
        self._clip_norm = clip_norm
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._slots = [(_zeros(variable), _zeros(variable)) for variable in variables]

    @property
    def state(self) -> list[tf.Variable]:
        """The step and all moments."""
        return [self.step, *(slot for slots in self._slots for slot in slots)]

    def apply(self, gradients: Sequence[Gradient], learning_rate: tf.Tensor) -> None:
        """Sums the gradients over the replicas, clips them and takes a step.

        Args:
            gradients: of each variable on this replica; IndexedSlices for a lazy update.
            learning_rate: float32 scalar.
        """
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        total = [_sum_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in total]
        if self._clip_norm is not None:
            total, _ = tf.clip_by_global_norm(total, self._clip_norm)
        context.merge_call(self._update_all, args=(total, learning_rate))

    def _update_all(
        self, strategy: tf.distribute.Strategy, gradients: list[Any], learning_rate: Any
    ) -> None:
        extended = strategy.extended
        extended.update(self.step, lambda step: step.assign_add(1))
        for variable, slots, gradient in zip(self._variables, self._slots, gradients, strict=True):
            arguments = (gradient, *slots, self.step, learning_rate)
            extended.update(variable, _update, args=arguments)


def _update(
    variable: tf.Variable,
    gradient: Gradient,
    first: tf.Variable,
    second: tf.Variable,
    step: tf.Variable,
    learning_rate: tf.Tensor,
) -> None:
    t = tf.cast(step, tf.float32)
    decay_1, decay_2 = tf.pow(_BETA_1, t), tf.pow(_BETA_2, t)
    if not isinstance(gradient, tf.IndexedSlices):
        # One pass over the memory for what would else be ten.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=decay_1,
            beta2_power=decay_2,
            lr=learning_rate,
            beta1=_BETA_1,
            beta2=_BETA_2,
            epsilon=_EPSILON,
            grad=gradient,
        )
        return
    rate = learning_rate * tf.sqrt(1.0 - decay_2) / (1.0 - decay_1)
    values, rows = gradient.values, gradient.indices
    old_first, old_second = rows_of(first, rows), rows_of(second, rows)
    new_first = old_first + (values - old_first) * (1.0 - _BETA_1)
    new_second = old_second + (tf.square(values) - old_second) * (1.0 - _BETA_2)
    first.scatter_update(tf.IndexedSlices(new_first, rows))
    second.scatter_update(tf.IndexedSlices(new_second, rows))
    change = rate * new_first / (tf.sqrt(new_second) + _EPSILON)
    variable.scatter_sub(tf.IndexedSlices(change, rows))


def _sum_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with each row in it once."""
    rows, place = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _zeros(variable: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
