"""The kernel through measured points, against plain interpolation and quadrature."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from paced_theory.curve import Curve, curve_text, parse_curve
from paced_theory.kernel import FunctionKernel

POINTS = st.lists(st.tuples(st.integers(0, 20), st.floats(0, 5)), min_size=1, max_size=8, unique_by=lambda point: point[0]).filter(
    lambda points: any(weight > 0 for _, weight in points)
)


def made(points: list[tuple[int, float]]) -> Curve:
    return Curve(tuple((place / 20, weight) for place, weight in sorted(points)))


@given(POINTS, st.floats(0, 1))
def test_values_lie_on_straight_lines(points: list[tuple[int, float]], p: float) -> None:
    curve = made(points)
    rates, weights = zip(*curve.points, strict=True)
    assert float(curve(p)) == pytest.approx(float(np.interp(p, rates, weights)))
    assert float(curve(curve.mode())) == pytest.approx(max(weights))


@given(POINTS, st.floats(0.3, 30), st.floats(0.3, 30))
def test_integrals_are_those_of_quadrature(points: list[tuple[int, float]], a: float, b: float) -> None:
    curve = made(points)
    edges = [0.0, *curve.breakpoints, 1.0]
    law = beta(a, b)
    # The mass of each piece is taken from the law itself, since its density has no bound at an end where a or b is below one.
    expected = 0.0
    for left, right in pairwise(edges):
        low, high = float(curve(left)), float(curve(right))
        slope = (high - low) / (right - left)
        inner = quad(lambda p: law.cdf(p), left, right, epsabs=1e-12)[0]  # by parts: E[p; piece] = right F(right) - left F(left) - int F
        mass = law.cdf(right) - law.cdf(left)
        mean = right * law.cdf(right) - left * law.cdf(left) - inner
        expected += (low - slope * left) * mass + slope * mean
    assert curve.integral((a, b)) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_posterior_means_agree_with_a_function_of_the_same_values() -> None:
    curve = Curve(((0.0, 0.0), (0.3, 2.0), (1.0, 0.5)))
    same = FunctionKernel(lambda p: float(np.interp(p, [0, 0.3, 1], [0, 2, 0.5])), breakpoints=(0.3,))
    k = np.arange(9)
    assert curve.posterior_mean(k, 8, (0.4, 0.6)) == pytest.approx(same.posterior_mean(k, 8, (0.4, 0.6)), rel=1e-9)


def test_what_is_written_is_read() -> None:
    curve = parse_curve(curve_text([0.0, 0.5, 1.0], [0.0, 1.25, 0.4]))
    assert curve.points == ((0.0, 0.0), (0.5, 1.25), (1.0, 0.4))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.5", "PASS_RATE:WEIGHT"),
        ("0:1,x:2", "got 'x:2'"),
        ("0.5:1,0.5:2", "ascending"),
        ("0:0,1:0", "at least one positive"),
        ("0:-1,1:2", "points"),
        ("0:1,1.5:2", "points"),
    ],
)
def test_what_is_no_curve_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_curve(text)
