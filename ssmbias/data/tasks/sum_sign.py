r"""Task F1: the sign of a linear teacher's output, learned where only the first elements speak.

A training sequence is $N(0, s^2)$ at positions $1, \dots, m$ (`support`) and exactly 0 elsewhere;
its label is the class of $y = \sum_k h_{\kappa-k} x_k$, 1 where $y > 0$ and 0 elsewhere, with the
teacher's impulse response $h$. For the one-dimensional teacher $a = b = c = 1$ that is the sign of
the sum of the inputs. Nothing in the training set says what the elements after position $m$ mean:
whether a network extends what it has learned to them is its implicit bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.core.types import AnyArray, Array

OUTPUTS = ("sign", "value")
"""What a label is: the class of the teacher's output, or the output itself."""


@dataclass(frozen=True)
class SignTask:
    r"""Sequences of one feature and the teacher that labels them.

    Attributes:
      seq_len: length $\kappa$ of training sequences.
      support: $m$: training sequences speak at their first $m$ positions.
      num_train: training sequences.
      signal: standard deviation $s$ of the elements that speak.
      off_support: standard deviation of the others; 0 is exactly 0.
      teacher_a: diagonal of the teacher's $A$, one entry a state.
      teacher_bc: products $b_j c_j$; `None` is all ones.
      output: "sign" labels by classes 0 and 1, "value" by the teacher's output.
      num_test: sequences of each test set.
      num_targets: sequences that poison is brewed against, in no test set.

    Raises:
      ValueError: an impossible size or number; names the field.

    Example:
      >>> SignTask(teacher_a=(1.0, 0.5)).seq_len
      32
      >>> SignTask(support=33)
      Traceback (most recent call last):
      ValueError: support=33: must be in 1..32

    References:
      Slutzky et al. (2025), arXiv:2410.10473 (special sequences labelled by the teacher).
    """

    seq_len: int = 32
    support: int = 8
    num_train: int = 40
    signal: float = 1.0
    off_support: float = 0.0
    teacher_a: tuple[float, ...] = (1.0,)
    teacher_bc: tuple[float, ...] | None = None
    output: str = "sign"
    num_test: int = 2000
    num_targets: int = 256

    def __post_init__(self) -> None:
        """Refuse impossible tasks."""
        require_int("seq_len", self.seq_len, minimum=2)
        require_int("support", self.support, minimum=1, maximum=self.seq_len)
        for name in ("num_train", "num_test", "num_targets"):
            require_int(name, getattr(self, name), minimum=1)
        if not require_number("signal", self.signal) > 0:
            raise ValueError(f"signal={self.signal!r}: must be greater than 0")
        if not require_number("off_support", self.off_support) >= 0:
            raise ValueError(f"off_support={self.off_support!r}: must be 0 or greater")
        for name in ("teacher_a", "teacher_bc"):
            entries = getattr(self, name)
            if entries is None:
                continue
            if not isinstance(entries, tuple | list) or not entries:
                raise ValueError(f"{name}={entries!r}: pass one number a state, such as [1.0]")
            object.__setattr__(self, name, tuple(require_number(name, x) for x in entries))
        if self.teacher_bc is not None and len(self.teacher_bc) != len(self.teacher_a):
            raise ValueError(
                f"teacher_bc={self.teacher_bc!r}: pass as many as teacher_a={self.teacher_a!r} has"
            )
        require_choice("output", self.output, OUTPUTS)

    def response(self, length: int) -> Float[np.ndarray, " lag"]:
        r"""The teacher's impulse response $h_l = \sum_j b_j c_j a_j^l$ at lags 0..length-1."""
        a = np.asarray(self.teacher_a, dtype=np.float64)
        bc = np.ones_like(a) if self.teacher_bc is None else np.asarray(self.teacher_bc)
        return bc @ a[:, None] ** np.arange(length)


def teacher_output(task: SignTask, inputs: Float[AnyArray, "seq 1"]) -> Float[Array, ""]:
    """The teacher's output for one sequence, of whatever length.

    Example:
      >>> float(teacher_output(SignTask(), jnp.array([[1.0], [-3.0]])))
      -2.0
    """
    inputs = jnp.asarray(inputs)
    response = jnp.asarray(task.response(inputs.shape[0])[::-1].copy(), inputs.dtype)
    return response @ inputs[:, 0]


def teacher_label(task: SignTask, inputs: Float[AnyArray, "seq 1"]) -> Int[Array, ""] | Array:
    """The label of one sequence: a class (int32), or the teacher's output.

    Args:
      task: which teacher, and what a label is.
      inputs: the sequence.

    Returns:
      1 where the teacher's output is positive, else 0; or the output.

    Example:
      >>> [int(teacher_label(SignTask(), jnp.full((4, 1), x))) for x in (0.5, -0.5)]
      [1, 0]
    """
    output = teacher_output(task, inputs)
    return output if task.output == "value" else (output > 0).astype(jnp.int32)


def training_inputs(
    key: Array, task: SignTask, num: int | None = None
) -> Float[Array, "num seq 1"]:
    """Training sequences.

    Args:
      key: a JAX random key.
      task: which.
      num: how many; `None` is the task's number.

    Returns:
      Sequences in JAX's default floating-point type.

    Example:
      >>> inputs = training_inputs(jax.random.key(0), SignTask(seq_len=4, support=2), 3)
      >>> inputs.shape, bool(jnp.all(inputs[:, 2:] == 0.0))
      ((3, 4, 1), True)
    """
    draws = generic_inputs(key, task.num_train if num is None else num, task.seq_len)
    speaks = jnp.arange(task.seq_len) < task.support
    return draws * jnp.where(speaks, task.signal, task.off_support)[None, :, None]


def generic_inputs(key: Array, num: int, length: int) -> Float[Array, "num seq 1"]:
    """Sequences that speak everywhere: N(0, 1) at every position.

    Example:
      >>> generic_inputs(jax.random.key(0), 3, 4).shape
      (3, 4, 1)
    """
    return jax.random.normal(key, (num, length, 1))
