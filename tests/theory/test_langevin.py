"""ASGLD: its running moments by hand, and its exact second moments against SGD's closed form and against simulation."""

import numpy as np
import pytest

from paced_theory.convergence import quadratic, quadratic_mean_squared_gradient, simulate_sgd
from paced_theory.langevin import Langevin, asgld_mean_squared_gradient


def test_running_moments_by_hand():
    """Decays 1/2 and 3/4, gradients 4 then 0: mu = 2, 1; C = 1/4 x (4-2)(4-0) = 2, then 3/4 x 2 + 1/4 x (0-1)(0-2) = 2."""
    langevin = Langevin(1.0, 0.5, 0.75)
    mean, variance = langevin.updated(np.zeros(1), np.zeros(1), np.array([4.0]))
    assert (mean[0], variance[0]) == (2.0, 2.0)
    mean, variance = langevin.updated(mean, variance, np.array([0.0]))
    assert (mean[0], variance[0]) == (1.0, 2.0)


def test_without_strength_it_is_sgd():
    for start, noise in ((0.0, 1.0), (2.0, 0.0), (1.5, 0.3)):
        expected = quadratic_mean_squared_gradient([0.7], [start], noise, 0.2, 60)
        assert asgld_mean_squared_gradient(Langevin(0.0), 0.7, start, noise, 0.2, 60) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("langevin", [Langevin(), Langevin(2.0, 0.5, 0.8), Langevin(0.5, 0.0, 0.0)])
@pytest.mark.parametrize("tail", [None, 5.0])
def test_simulation_has_the_exact_mean(langevin, tail):
    run = simulate_sgd(
        quadratic([0.8]), [1.2], [1.0, 2.0], [1.0, 0.5], 0.1, 120, 3000, np.random.default_rng(5), tail=tail, langevin=langevin
    )
    exact = asgld_mean_squared_gradient(langevin, 0.8, 1.2, run.noise_variance, 0.1, 120)
    error = run.mean_squared_gradient.std() / np.sqrt(3000)
    assert abs(run.mean_squared_gradient.mean() - exact) < 4 * error and run.bound == np.inf
    plain = quadratic_mean_squared_gradient([0.8], [1.2], run.noise_variance, 0.1, 120)
    assert abs(plain - exact) > 4 * error  # or the noise would do nothing


def test_moments_scale_with_the_noise():
    values = [asgld_mean_squared_gradient(Langevin(), 1.0, s * 0.4, s**2 * 2.0, 0.3, 40) for s in (1.0, 3.0)]
    assert values[1] == pytest.approx(9 * values[0], rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Langevin(-1.0), "strength must be"),
        (lambda: Langevin(1.0, 1.0), r"mean_decay must be in \[0, 1\), got 1.0"),
        (lambda: Langevin(1.0, 0.5, float("nan")), r"variance_decay must be a finite real number, got nan"),
        (lambda: asgld_mean_squared_gradient(Langevin(), 0.0, 1.0, 1.0, 0.1, 5), "curvature"),
        (lambda: asgld_mean_squared_gradient(Langevin(), 1.0, 1.0, -1.0, 0.1, 5), "noise_variance"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
