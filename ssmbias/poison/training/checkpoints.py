"""The last states of a long computation on disk, through orbax (`pip install 'ssmbias[full]'`)."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

KEPT = 2
"""States kept: the last one, and one before it."""


class Checkpoints:
    """States of one computation in a folder of their own, each written whole or not at all.

    The leaves are stored, and the shape of the tree comes from the caller: so any tree will do,
    such as the state of an optimiser. A state is on disk when `save` returns.

    Args:
      folder: made if it is not there.

    Raises:
      ImportError: orbax is not installed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder) / "run") as kept:
      ...     print(kept.latest({"w": np.zeros(2)}))
      ...     kept.save(7, {"w": np.array([1.0, 2.0])})
      ...     step, state = kept.latest({"w": np.zeros(2)})
      None
      >>> step, state["w"].tolist()
      (7, [1.0, 2.0])
    """

    def __init__(self, folder: Path) -> None:
        self._orbax = require_orbax()
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=KEPT, create=True, enable_async_checkpointing=False
        )
        self.folder = Path(folder).absolute()
        self._manager = self._orbax.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Checkpoints:
        """The states."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the folder."""
        self._manager.close()

    def steps(self) -> list[int]:
        """The steps whose states are there, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, tree: Any) -> None:
        """Keep a state; the oldest one goes where there are more than `KEPT`."""
        self._manager.save(step, args=self._orbax.args.StandardSave(_by_number(tree)))

    def latest(self, like: Any) -> tuple[int, Any] | None:
        """The last state with its step, or `None` where there is none.

        Args:
          like: a tree of the same structure, shapes and dtypes.

        Returns:
          The step and the state, with the very bits that were saved.

        Raises:
          ValueError: what is stored has another form.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        wanted = {
            name: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)
            for name, leaf in _by_number(like).items()
        }
        try:
            found = self._manager.restore(
                step, args=self._orbax.args.StandardRestore(_on_device(wanted))
            )
        except (ValueError, KeyError, TypeError) as err:
            raise ValueError(
                f"{self.folder}: the state of step {step} is of another computation; remove this "
                "folder, or choose another one for the run"
            ) from err
        leaves = [found[name] for name in wanted]
        for leaf, name in zip(leaves, wanted, strict=True):
            if (leaf.shape, leaf.dtype) != (wanted[name].shape, wanted[name].dtype):
                raise ValueError(
                    f"{self.folder}: the state of step {step} is of another computation; remove "
                    "this folder, or choose another one for the run"
                )
        # Through the host: arrays as bound to a device as orbax makes them would be compiled anew.
        leaves = [jnp.asarray(np.asarray(leaf)) for leaf in leaves]
        return step, jax.tree.unflatten(jax.tree.structure(like), leaves)


def require_orbax() -> Any:
    """Orbax, or how to install it.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import orbax.checkpoint as orbax  # noqa: PLC0415  (slow to import, and an extra)
    except ImportError as err:
        raise ImportError(
            "checkpoints of the experiment on CIFAR-10 need orbax-checkpoint, which is not "
            "installed: pip install 'ssmbias[full]', or pip install orbax-checkpoint"
        ) from err
    return orbax


def _by_number(tree: Any) -> dict[str, Any]:
    return {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _on_device(wanted: dict[str, Any]) -> dict[str, Any]:
    """Restored to where new arrays go, whatever machine saved them."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
        for name, leaf in wanted.items()
    }
