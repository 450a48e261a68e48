"""Running the published experiment on CIFAR-10, resumable to the bit."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from ssmbias.poison.cifar.settings import FullSettings
from ssmbias.poison.runner import run_experiment
from ssmbias.poison.training.checkpoints import require_orbax
from ssmbias.poison.training.estimate import estimate
from ssmbias.poison.training.teller import Progress


def run_full(
    settings: FullSettings,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    estimate_first: bool = True,
) -> xr.Dataset:
    """Train, brew, train again and evaluate, for every arm and seed.

    A run that was killed goes on in the same folder at its last epoch or restart, and ends with
    the same bits as if it had not been.

    Args:
      settings: everything.
      folder: of states and finished arms; made if it is not there.
      progress: told how far it is; first, with 0 units done, the estimate in words.
      estimate_first: whether to measure memory and time before, and refuse what does not fit.

    Returns:
      Dims arm and seed. test_accuracy: on test images that are no targets; target_accuracy: on
      the targets; train_accuracy: on the base part, as evaluated; running_accuracy and final_loss:
      of the last epoch, as trained on; outcome: 0, or 1 where a run does not fit its base part or
      is not finite; epochs; objective: of gradient matching; poison_norm: mean l2 norm of a
      perturbation; late_share: of the perturbation in
      the last elements of the sequence, late_share_rows: in the last row of the image (nan in
      arms without; evenly spread it is the attribute uniform_share).

    Raises:
      ImportError: orbax is not installed.
      ValueError: data that are missing or too few, a device that is too small, or states of
        another form.

    References:
      Slutzky et al. (2025), arXiv:2410.10473, the experiments on CIFAR-10; see `FullSettings` for
      what is ours.
    """
    require_orbax()
    experiment = settings.experiment()
    # The numbers of images are checked for the first seed, before anything is compiled.
    experiment.task.draw(settings.seeds[0])
    if estimate_first:
        found = estimate(experiment, settings.arms, len(settings.seeds))
        (progress or (lambda done, total, text: None))(0, 1, str(found))
    home = Path(folder).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    run = run_experiment(experiment, settings.arms, settings.seeds, folder=home, progress=progress)
    return run.results
