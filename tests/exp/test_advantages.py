"""Advantages against numbers worked out by hand, and against exact expectations over all groups of a small policy."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.weighting.advantages import GROUP_WEIGHTS, error_penalty, group_advantages, group_weights

GROUP = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # p = 1/4: sum of squares 9/16 + 3/16 = 3/4, over 3 and rooted: 1/2. So 0.75 / 0.5001 and -0.25 / 0.5001.
        ("grpo", [[0.75 / 0.5001, *3 * [-0.25 / 0.5001]], [*3 * [0.25 / 0.5001], -0.75 / 0.5001], 4 * [0.0], 4 * [0.0]]),
        ("dr_grpo", [[0.75, -0.25, -0.25, -0.25], [0.25, 0.25, 0.25, -0.75], 4 * [0.0], 4 * [0.0]]),
        # Divided by p = 1/4 and 3/4.
        ("maxrl", [[3.0, -1.0, -1.0, -1.0], [1 / 3, 1 / 3, 1 / 3, -1.0], 4 * [0.0], 4 * [0.0]]),
        ("psr", [[1, 0, 0, 0], [1, 1, 1, 0], 4 * [0], 4 * [1]]),
        ("nsr", [[0, -1, -1, -1], [0, 0, 0, -1], 4 * [-1], 4 * [0]]),
        ("w_reinforce", [[0.1, -1, -1, -1], [0.1, 0.1, 0.1, -1], 4 * [-1], 4 * [0.1]]),
    ],
)
def test_schemes_by_hand(scheme: str, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(group_advantages(GROUP, scheme), expected, rtol=1e-12)  # type: ignore[arg-type]


def test_the_positive_weight_is_that_of_correct_rollouts() -> None:
    np.testing.assert_allclose(group_advantages(GROUP[:1], "w_reinforce", 0.5), [[0.5, -1, -1, -1]])


def expected_gradient(advantages: Callable[[np.ndarray], np.ndarray], theta: np.ndarray, right: np.ndarray, G: int) -> np.ndarray:
    """E[mean_i A_i grad log pi(y_i)] of a softmax policy over a few answers, summed over all groups of G."""
    pi = np.exp(theta) / np.exp(theta).sum()
    total = np.zeros_like(theta)
    for drawn in itertools.product(range(len(theta)), repeat=G):
        A = advantages(right[list(drawn)][None].astype(float))[0]
        scores = np.eye(len(theta))[list(drawn)] - pi
        total += np.prod(pi[list(drawn)]) * (A @ scores) / G
    return total


@pytest.mark.parametrize("G", [2, 3, 4])
def test_expected_gradients_are_multiples_of_that_of_the_pass_rate(G: int) -> None:
    theta, right = np.array([0.3, -0.9, 0.5, 0.1]), np.array([1, 0, 0, 1])
    pi = np.exp(theta) / np.exp(theta).sum()
    p = float(pi @ right)
    of_p = pi * (right - p)

    def found(scheme: str) -> np.ndarray:
        return expected_gradient(lambda r: group_advantages(r, scheme), theta, right, G)  # type: ignore[arg-type]

    np.testing.assert_allclose(found("dr_grpo"), (1 - 1 / G) * of_p, atol=1e-12)
    np.testing.assert_allclose(found("maxrl"), (1 - (1 - p) ** (G - 1)) / p * of_p, atol=1e-12)
    # Rewards of +1 alone and of -1 alone: E[r score] = grad p = -grad (1 - p).
    np.testing.assert_allclose(found("psr"), of_p, atol=1e-12)
    np.testing.assert_allclose(found("nsr"), of_p, atol=1e-12)
    np.testing.assert_allclose(found("w_reinforce"), 1.1 * of_p, atol=1e-12)


def test_the_error_penalty_by_hand() -> None:
    """softplus(log 3) = log 4, softplus(-log 3) = log(4/3), softplus(0) = log 2."""
    c = np.array([np.log(3), -np.log(3), 0.0, np.log(3)])
    found = error_penalty(np.array([-1.0, -2.0, -0.5, 1.0]), c, 0.5)
    np.testing.assert_allclose(found, [-(1 + 0.5 * np.log(4)), -2 * (1 + 0.5 * np.log(4 / 3)), -0.5 * (1 + 0.5 * np.log(2)), 1.0])
    assert error_penalty(np.array([-1.0]), np.array([800.0]), 1.0)[0] == pytest.approx(-801.0)  # no overflow
    with pytest.raises(ValueError, match="shape"):
        error_penalty(np.zeros(2), np.zeros(3), 1.0)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0, 3), st.floats(-20, 20))
def test_the_error_penalty_never_weakens_an_error_and_grows_with_confidence(values: list[float], strength: float, c: float) -> None:
    A = np.array(values)
    low, high = error_penalty(A, np.full_like(A, c), strength), error_penalty(A, np.full_like(A, c + 1), strength)
    assert (low[A >= 0] == A[A >= 0]).all() and (low[A < 0] <= A[A < 0]).all() and (high <= low).all()


def test_group_weights_by_hand() -> None:
    """k = 1, 3, 0, 4 of 4. PACED: 3/16, 3/16, 0, 0 over the mean of 0, 3/16, 4/16, 3/16, 0, which is 1/8."""
    np.testing.assert_allclose(group_weights(GROUP, "paced"), [1.5, 1.5, 0, 0])
    # MaxRL of order 4, (1 - (1-p)^4)/p at 0, 1/4, ..., 1: 4, 175/64, 15/8, 85/64, 1, of mean 175/80.
    np.testing.assert_allclose(group_weights(GROUP, "maxrl"), np.array([175 / 64, 85 / 64, 4, 1]) / (175 / 80))
    np.testing.assert_allclose(group_weights(GROUP, "uniform"), 1.0)


@pytest.mark.parametrize("method", GROUP_WEIGHTS)
def test_group_weights_have_mean_one_over_equally_likely_counts_and_know_no_other_group(method: str) -> None:
    every = np.array([[float(i < k) for i in range(8)] for k in range(9)])
    found = group_weights(every, method)
    assert found.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal([group_weights(row[None], method)[0] for row in every], found)


def test_bad_input() -> None:
    with pytest.raises(UserError, match="`group_weight` curve is not known"):
        group_weights(GROUP, "curve")
    for rewards in (np.array([1, 0]), np.array([[1.0]]), np.array([[0.5, 1.0]])):
        with pytest.raises(ValueError, match="rewards must be"):
            group_advantages(rewards, "grpo")
