"""Every trained experiment of the paper, as frozen settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ssmbias.core.checks import require_int, require_number

ARMS = ("clean", "poisoned")
"""The two arms of every experiment: poison strength ρ = 0 and ρ = 1."""


@dataclass(frozen=True)
class PaperExperiment:
    r"""One experiment: two arms that share starts and baseline sequences.

    Starts: a, b, c are absolute values of independent normal numbers, a and b in descending
    order; then $a_{2} := a_1 - \Delta$ and $b_2 := b_1 - \Delta$ (teachers of dimension 3 and 4:
    the third entry $a_1 - 1.01\Delta$, the fourth $a_1 - 1.05\Delta$), then `warm` is added to
    a and b.

    Attributes:
      name: label.
      seq_len: sequence length κ.
      state_dim: the student's dimension d.
      special_positions: non-zero positions of special sequences, from 0.
      baseline_positions: non-zero positions of baseline sequences.
      teacher_dim: the teacher's dimension; 1 inside a network.
      width: of the two hidden layers of the network on top; 0 for a standalone SSM.
      train_bc: whether b and c are trained; otherwise they are fixed to 1.
      optimizer: "sgd*" (`adaptive_step`) or "adam".
      steps: step of the clean and of the poisoned arm.
      sd_a, sd_bc, sd_head: standard deviations of the starts.
      gap: Δ above.
      warm: added to a and b.
      eps: training loss at which the first phase ends.
      extra_steps: updates after that, of each arm, up to the last logging step.
      original_seeds: seeds of the paper's runs.
    """

    name: str
    seq_len: int
    state_dim: int
    special_positions: tuple[int, ...]
    optimizer: str
    steps: tuple[float, float]
    sd_a: float
    sd_bc: float
    gap: float
    eps: float
    extra_steps: tuple[int, int]
    original_seeds: tuple[int, ...]
    warm: float = 0.0
    teacher_dim: int = 1
    width: int = 0
    sd_head: float = 0.0
    train_bc: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible experiments."""
        require_int("seq_len", self.seq_len, minimum=4)
        require_int("state_dim", self.state_dim, minimum=2)
        require_int("teacher_dim", self.teacher_dim, minimum=1, maximum=4)
        require_int("width", self.width, minimum=0)
        for name in ("sd_a", "sd_bc", "eps"):
            if not require_number(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        if self.optimizer not in ("sgd*", "adam"):
            raise ValueError(f"optimizer={self.optimizer!r}: choose sgd* or adam")

    @property
    def baseline_positions(self) -> tuple[int, ...]:
        """0, 1 for κ = 6 and 0..6 for κ = 10: all lags from 4 and from 3 on."""
        return (0, 1) if self.seq_len == 6 else tuple(range(self.seq_len - 3))

    @property
    def num_baseline(self) -> int:
        """Baseline sequences."""
        return 20 if self.width else 8

    @property
    def num_special(self) -> int:
        """Special sequences, in the poisoned arm only."""
        return 20 if self.width else 10

    @property
    def trainable(self) -> tuple[str, ...]:
        """Leaves of the SSM that move."""
        return ("a", "b", "c") if self.train_bc else ("a",)


_SSM_10: dict[str, Any] = {"seq_len": 10, "state_dim": 20, "optimizer": "sgd*"}
_SSM_6: dict[str, Any] = {"seq_len": 6, "state_dim": 10, "optimizer": "sgd*"}
_NN_6: dict[str, Any] = {"seq_len": 6, "state_dim": 10, "optimizer": "adam", "width": 15}
_NN_10: dict[str, Any] = {"seq_len": 10, "state_dim": 20, "optimizer": "adam", "width": 25}

_LIST = [
    PaperExperiment(
        "poison_ssm_len6", **_SSM_6, special_positions=(4,), steps=(0.01, 0.01), sd_a=1e-3,
        sd_bc=1e-3, gap=0.05 * 2.718281828459045**-15, warm=0.1, eps=0.01,
        extra_steps=(1401, 1401), original_seeds=(200, 201, 204, 205),
    ),
    PaperExperiment(
        "poison_ssm_len10", **_SSM_10, special_positions=(8,), steps=(1e-3, 1e-3), sd_a=1e-2,
        sd_bc=1e-3, gap=1.239e-4, warm=0.1, eps=0.01, extra_steps=(1401, 1401),
        original_seeds=(1200, 1201, 1203, 1204),
    ),
    PaperExperiment(
        "poison_nn_len6", **_NN_6, special_positions=(4,), steps=(0.01, 0.01), sd_a=0.01,
        sd_bc=0.01, sd_head=0.03, gap=0.0184, warm=1e-3, eps=0.01, extra_steps=(4901, 4901),
        original_seeds=(4540, 4541, 4543, 4545),
    ),
    PaperExperiment(
        "poison_nn_len10", **_NN_10, special_positions=(8,), steps=(0.01, 5e-5), sd_a=1e-3,
        sd_bc=1e-3, sd_head=0.1, gap=1.239e-4, warm=1e-3, eps=0.05, extra_steps=(4901, 4901),
        original_seeds=(4540, 4543, 4544, 4545),
    ),
    PaperExperiment(
        "dyn_ssm_len6", **_SSM_6, special_positions=(4, 5), steps=(0.01, 0.01), sd_a=0.01,
        sd_bc=0.01, gap=2.1e-19, eps=0.01, extra_steps=(4901, 4901), original_seeds=(105, 100),
    ),
    PaperExperiment(
        "dyn_ssm_len10", **_SSM_10, special_positions=(8, 9), steps=(0.01, 0.01), sd_a=1e-3,
        sd_bc=0.05, gap=4.4e-28, eps=0.05, extra_steps=(4901, 4901), original_seeds=(4000, 4001),
    ),
    PaperExperiment(
        "dyn_nn_len6", **_NN_6, special_positions=(4, 5), steps=(0.01, 1e-3), sd_a=0.01,
        sd_bc=0.01, sd_head=0.03, gap=0.0184, eps=0.05, extra_steps=(4901, 4901),
        original_seeds=(4541, 4543),
    ),
    PaperExperiment(
        "dyn_nn_len10", **_NN_10, special_positions=(8, 9), steps=(0.01, 5e-5), sd_a=1e-3,
        sd_bc=1e-3, sd_head=0.1, gap=1.239e-4, eps=0.05, extra_steps=(19901, 4901),
        original_seeds=(4542, 4603),
    ),
]  # fmt: skip

_DIM: dict[str, Any] = {
    "special_positions": (4,),
    "train_bc": False,
    "eps": 0.01,
    "extra_steps": (1401, 1401),
}
_DIM_10: dict[str, Any] = {**_DIM, "special_positions": (8,)}
_LIST += [
    PaperExperiment(
        f"dyn_dim{dim}_len6", **_SSM_6, **_DIM, steps=(0.01, 1e-3), sd_a=0.01, sd_bc=0.01,
        gap=9.158e-4, teacher_dim=dim, original_seeds=(seed,),
    )
    for dim, seed in ((2, 302), (3, 401), (4, 403))
]  # fmt: skip
_LIST += [
    PaperExperiment(
        f"dyn_dim{dim}_len10", **_SSM_10, **_DIM_10,
        steps=(1e-3, 1e-3), sd_a=0.01, sd_bc=1e-3, gap=1.239e-4, teacher_dim=dim,
        original_seeds=(seed,),
    )
    for dim, seed in ((2, 1202), (3, 1201), (4, 1201))
]  # fmt: skip

EXPERIMENTS = {experiment.name: experiment for experiment in _LIST}
"""All of them by name, as in the names of the paper's runs."""


def find_experiment(name: str) -> PaperExperiment:
    """An experiment by name.

    Raises:
      ValueError: there is none of that name.

    Example:
      >>> find_experiment("poison_ssm_len6").state_dim
      10
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment={name!r}: choose from {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def shortened(experiment: PaperExperiment, extra_steps: int) -> PaperExperiment:
    """The same experiment with a shorter second phase, for tests."""
    first, second = experiment.extra_steps
    return replace(experiment, extra_steps=(min(first, extra_steps), min(second, extra_steps)))
