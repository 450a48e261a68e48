"""Where gradient descent ended, and what it logged on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from ssmbias.core.display import displayed
from ssmbias.core.types import Array
from ssmbias.dynamics.descent.config import DescentConfig
from ssmbias.dynamics.descent.loop import DescentRun
from ssmbias.dynamics.trajectory import Outcome


class DescentLog(NamedTuple):
    """States on the way, slots first.

    Attributes:
      step: number of updates of the phase before the entry.
      loss: training loss there.
      value: the student (linear students), or what `observe` returned.
      recorded: False in slots that were not filled, and in those that a run did not reach; the
        latter repeat its end.
    """

    step: Int[Array, " log"]
    loss: Float[Array, " log"]
    value: Any
    recorded: Bool[Array, " log"]


@displayed(outcome=Outcome)
class DescentResult(NamedTuple):
    """Where descent ended, and why.

    Attributes:
      model: the student, or the parameters, at the very end.
      loss: training loss there.
      outcome: an `Outcome` code: CONVERGED if the first phase ended at the loss tolerance,
        MAX_STEPS if its budget was spent, FAILED if a number ceased to be finite in either phase.
      steps_to_tol: updates in the first phase.
      num_steps: updates in both phases.
      optimizer_state: the optimiser's state at the end.
      log: log of the first phase.
      extra_log: log of the second phase, its steps counted from 0 again; `None` without one.
    """

    model: Any
    loss: Float[Array, ""]
    outcome: Int[Array, ""]
    steps_to_tol: Int[Array, ""]
    num_steps: Int[Array, ""]
    optimizer_state: Any
    log: DescentLog
    extra_log: DescentLog | None

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the first phase ended at the loss tolerance."""
        return self.outcome == Outcome.CONVERGED


def result_of(
    run: DescentRun, config: DescentConfig, as_model: Callable[[Any], Any]
) -> DescentResult:
    """The last phase's end, the first phase's outcome; leaves have a leading phase axis."""
    last = jax.tree.map(lambda x: x[-1], run._replace(log=None))
    failed = jnp.any(run.outcome == Outcome.FAILED)
    logs = [
        _log(jax.tree.map(lambda x, phase=phase: x[phase], run.log), run.steps[phase])
        for phase in range(1 + (config.extra_steps > 0))
    ]
    if len(logs) > 1:  # of a run that has not got there, the second phase has no entry
        entered = run.outcome[0] == Outcome.CONVERGED
        logs[1] = logs[1]._replace(recorded=logs[1].recorded & entered)
    return DescentResult(
        model=as_model(last.params),
        loss=last.loss,
        outcome=jnp.where(failed, jnp.int32(Outcome.FAILED), run.outcome[0]),
        steps_to_tol=run.steps[0],
        num_steps=jnp.sum(run.steps),
        optimizer_state=last.optimizer_state,
        log=logs[0],
        extra_log=logs[1] if len(logs) > 1 else None,
    )


def _log(log: Any, steps: Array) -> DescentLog:
    value, loss = log.value
    filled = jnp.arange(log.step.shape[0]) < log.num
    return DescentLog(log.step, loss, value, filled & (log.step <= steps))
