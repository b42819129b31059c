"""Adam under a distribution strategy, with lazy updates of embedding tables."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import tensorflow as tf

from components.train.distinct import rows_of
from components.train.row_sums import RowSums

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | RowSums

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class Adam:
    """Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980), with Keras's constants.

    A table's gradient, given as IndexedSlices, changes the rows in it and their moments alone (the
    "lazy" variant), while Keras's Adam moves every row of a table at every step. Given as RowSums,
    it changes those that were used.

    Args:
        variables: what is optimized; made, like this, under the strategy's scope.
        clip_norm: the global norm to which gradients are clipped, None for no clipping.
        compiled: whether XLA compiles a step, as one: many small operations are what costs on a
            GPU. Gradients can't be IndexedSlices then, and only then RowSums.
    """

    def __init__(
        self, variables: Sequence[tf.Variable], clip_norm: float | None, compiled: bool = False
    ) -> None:
        self._variables = list(variables)
        self._clip_norm = clip_norm
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._compiled = compiled
        self._update_together = tf.function(
            partial(_update_together, clip_norm=clip_norm), jit_compile=True, autograph=False
        )
        self._slots = [(_zeros(variable), _zeros(variable)) for variable in variables]

    @property
    def state(self) -> list[tf.Variable]:
        """The step and all moments."""
        return [self.step, *(slot for slots in self._slots for slot in slots)]

    def apply(self, gradients: Sequence[Gradient], learning_rate: tf.Tensor) -> None:
        """Sums the gradients over the replicas, clips them and takes a step.

        Args:
            gradients: of each variable on this replica; IndexedSlices or RowSums for a lazy update.
            learning_rate: float32 scalar.
        """
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        if self._compiled:
            context.merge_call(self._update_in_one, args=(total, learning_rate))
            return
        total = [_sum_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in total]
        if self._clip_norm is not None:
            total, _ = tf.clip_by_global_norm(total, self._clip_norm)
        context.merge_call(self._update_all, args=(total, learning_rate))

    def _update_in_one(
        self, strategy: tf.distribute.Strategy, gradients: list[Any], learning_rate: Any
    ) -> None:
        arguments = (self._variables, self._slots, gradients, learning_rate)
        strategy.extended.update(self.step, self._update_together, args=arguments)

    def _update_all(
        self, strategy: tf.distribute.Strategy, gradients: list[Any], learning_rate: Any
    ) -> None:
        extended = strategy.extended
        extended.update(self.step, lambda step: step.assign_add(1))
        for variable, slots, gradient in zip(self._variables, self._slots, gradients, strict=True):
            arguments = (gradient, *slots, self.step, learning_rate)
            extended.update(variable, _update, args=arguments)


def _update_together(
    step: tf.Variable,
    variables: list[tf.Variable],
    slots: list[tuple[tf.Variable, tf.Variable]],
    gradients: list[tf.Tensor | RowSums],
    learning_rate: tf.Tensor,
    clip_norm: float | None,
) -> None:
    """A step of Adam for all variables, on one device."""
    step.assign_add(1)
    sums = [g.sums if isinstance(g, RowSums) else g for g in gradients]
    if clip_norm is not None:
        sums, _ = tf.clip_by_global_norm(sums, clip_norm)
    t = tf.cast(step, tf.float32)
    decay_1, decay_2 = tf.pow(_BETA_1, t), tf.pow(_BETA_2, t)
    rate = learning_rate * tf.sqrt(1.0 - decay_2) / (1.0 - decay_1)
    for variable, (first, second), gradient, g in zip(
        variables, slots, gradients, sums, strict=True
    ):
        new_first = first + (g - first) * (1.0 - _BETA_1)
        new_second = second + (tf.square(g) - second) * (1.0 - _BETA_2)
        new = variable - rate * new_first / (tf.sqrt(new_second) + _EPSILON)
        values = [(variable, new), (first, new_first), (second, new_second)]
        if isinstance(gradient, RowSums):
            used = gradient.counts[:, tf.newaxis] > 0
            values = [(old, tf.where(used, value, old)) for old, value in values]
        for old, value in values:
            old.assign(value)


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
