"""Rodas5P: the conditions of its order, its embedded solution and its stability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dynamics.theorem1.tableau import transformed_tableau

from ssmbias.dynamics.theorem1 import rodas5p

NUM_STAGES = rodas5p.NUM_STAGES


def classical_tableau() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """α, Γ and b: k_i = h f(y + Σ α_ij k_j) + h J Σ γ_ij k_j with the step y + Σ b_i k_i."""
    a, c, m = transformed_tableau()
    gamma = np.linalg.inv(np.eye(NUM_STAGES) / rodas5p.GAMMA - c)
    return a @ gamma, gamma, m @ gamma


def rooted_trees(order: int) -> list[tuple]:
    """All rooted trees with `order` vertices, each the sorted tuple of its subtrees."""

    def forests(size: int, largest: tuple | None) -> list[tuple]:
        if size == 0:
            return [()]
        found = []
        for first_size in range(1, size + 1):
            for first in rooted_trees(first_size):
                key = (first_size, first)
                if largest is None or key <= largest:
                    found += [(first, *rest) for rest in forests(size - first_size, key)]
        return found

    return forests(order - 1, None)


def tree_order(tree: tuple) -> int:
    return 1 + sum(map(tree_order, tree))


def tree_density(tree: tuple) -> int:
    return tree_order(tree) * math.prod(map(tree_density, tree))


def order_defects(order: int, b: np.ndarray, alpha: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Σ b_i Φ_i(τ) - 1/τ! over trees: a Rosenbrock method with exact Jacobian is of order p when
    these vanish up to p (Hairer & Wanner II, Section IV.7).

    A vertex with one child carries β = α + Γ, one with several children α.
    """

    def inner(tree: tuple) -> np.ndarray:
        if len(tree) == 1:
            return (alpha + gamma) @ inner(tree[0])
        return math.prod((alpha @ inner(child) for child in tree), start=np.ones(NUM_STAGES))

    return np.array([b @ inner(tree) - 1 / tree_density(tree) for tree in rooted_trees(order)])


# Coefficients carry a rounding of eps, and the inverse that leads to α, Γ, b multiplies it by the
# couplings' size (170), the sums by eight stages: 2e-16 x 170 x 8 = 3e-13.
TABLEAU_TOL = 1e-12


def test_the_tableau_satisfies_the_conditions_of_order_five() -> None:
    alpha, gamma, b = classical_tableau()
    assert [len(rooted_trees(order)) for order in range(1, 6)] == [1, 1, 2, 4, 9]
    for order in range(1, 6):
        assert np.max(np.abs(order_defects(order, b, alpha, gamma))) < TABLEAU_TOL, order
    # Control: the method is not of order six, so the conditions can fail.
    assert np.max(np.abs(order_defects(6, b, alpha, gamma))) > 1e-5


def test_the_embedded_solution_is_of_order_four_and_no_more() -> None:
    alpha, gamma, b = classical_tableau()
    embedded = alpha[-1]  # the step ends at u_8 + k_8; without k_8 it is u_8
    for order in range(1, 5):
        assert np.max(np.abs(order_defects(order, embedded, alpha, gamma))) < TABLEAU_TOL, order
    assert np.max(np.abs(order_defects(5, embedded, alpha, gamma))) > 1e-5
    assert not np.allclose(b, embedded)


@pytest.mark.parametrize("which", ["A", "C", "gamma"])
def test_one_wrong_digit_in_the_tableau_breaks_the_conditions(which, monkeypatch) -> None:
    factor = 1 + 1e-8
    if which == "A":
        rows = [list(row) for row in rodas5p.STAGE_WEIGHTS]
        rows[4][1] *= factor
        monkeypatch.setattr(rodas5p, "STAGE_WEIGHTS", tuple(map(tuple, rows)))
    elif which == "C":
        rows = [list(row) for row in rodas5p.COUPLINGS]
        rows[6][2] *= factor
        monkeypatch.setattr(rodas5p, "COUPLINGS", tuple(map(tuple, rows)))
    else:
        monkeypatch.setattr(rodas5p, "GAMMA", rodas5p.GAMMA * factor)
    alpha, gamma, b = classical_tableau()
    worst = max(np.max(np.abs(order_defects(order, b, alpha, gamma))) for order in range(1, 6))
    assert worst > 100 * TABLEAU_TOL


def stability(z: complex) -> complex:
    """R(z): one step for y' = z y, h = 1, y = 1."""
    a, c, m = transformed_tableau()
    # k_i (1/γ - z) = z (1 + Σ A_ij k_j) + Σ C_ij k_j
    matrix = np.eye(NUM_STAGES) * (1 / rodas5p.GAMMA - z) - z * a - c
    return complex(1.0 + m @ np.linalg.solve(matrix, np.full(NUM_STAGES, z, dtype=complex)))


def test_the_method_is_l_stable() -> None:
    # A-stable: |R| <= 1 on the imaginary axis (R is analytic to its left, all poles being 1/γ).
    axis = np.concatenate([np.linspace(0, 60, 400), np.geomspace(60, 1e6, 100)])
    assert max(abs(stability(1j * y)) for y in axis) <= 1 + 1e-12
    # R(∞) = 0. The degree of the numerator is below that of the denominator: R(z) ~ const/z.
    assert abs(stability(-1e6)) < 1e-4
    assert abs(stability(-1e8)) < 1e-6
    # Near zero R is the exponential to order five and not six.
    assert abs(stability(0.01) - math.exp(0.01)) < 1e-12
    assert abs(stability(0.5) - math.exp(0.5)) > 1e-8
