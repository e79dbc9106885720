"""Adaptive Langevin noise (ASGLD): noise with the running mean and variance of the gradients is added to every step of SGD.

Source: adaptively preconditioned SGLD, arXiv 1906.04324, whose authors call it ASGLD (not the one of adaptive drifts, 2009.09535, which some
programs call so too); the exact second moments on a quadratic are ours.
"""

from dataclasses import dataclass

import numpy as np

from paced_theory._checks import FloatArray, check_int, check_nonnegative, check_positive, check_real


@dataclass(frozen=True)
class Langevin:
    """theta <- theta - eta (g + psi xi), xi ~ N(mu, C) coordinate by coordinate, with running moments of the step's gradient g:

        mu <- a mu + (1-a) g,   C <- b C + (1-b) (g - mu_new)(g - mu_old),   both from 0.

    strength: psi. mean_decay, variance_decay: a and b. ValueError for a negative strength and decays outside [0, 1).
    """

    strength: float = 1.0
    mean_decay: float = 0.9
    variance_decay: float = 0.99

    def __post_init__(self) -> None:
        check_nonnegative("strength", self.strength)
        for name, value in (("mean_decay", self.mean_decay), ("variance_decay", self.variance_decay)):
            if not 0 <= check_real(name, value) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {value!r}")

    def updated(self, mean: FloatArray, variance: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """mu and C after a step with `gradient`; all of one shape."""
        new = self.mean_decay * mean + (1 - self.mean_decay) * gradient
        return new, self.variance_decay * variance + (1 - self.variance_decay) * (gradient - new) * (gradient - mean)


def asgld_mean_squared_gradient(
    langevin: Langevin, curvature: float, theta0: float, noise_variance: float, step_size: float, steps: int
) -> float:
    """(1/T) sum_t E f'(theta_t)^2 of ASGLD on f = h theta^2 / 2 in one dimension, exactly, for gradients of variance `noise_variance`.

    (theta, mu) is linear in itself and the noise, and C enters theta's second moment through its mean alone, so that the second moments follow a
    recursion of their own, whatever the noise's law. All of them are multiplied by s^2 when theta0 and the noise's deviation are by s.
    """
    h, eta = check_positive("curvature", curvature), check_positive("step_size", step_size)
    noise, T = check_nonnegative("noise_variance", noise_variance), check_int("steps", steps, 1)
    start = check_real("theta0", theta0)
    psi, a, b = langevin.strength, langevin.mean_decay, langevin.variance_decay
    moments = np.array([[start**2, 0.0], [0.0, 0.0]])  # of (theta, mu)
    variance = 0.0
    # With gradient g = h theta + e: mu' = a mu + (1-a) g, theta' = theta - eta (g + psi mu' + psi sqrt(C') z).
    pull = 1.0 + psi * (1 - a)
    step = np.array([[1 - eta * h * pull, -eta * psi * a], [(1 - a) * h, a]])
    shock = np.array([-eta * pull, 1 - a])
    total = 0.0
    for _ in range(T):
        total += h**2 * moments[0, 0]
        # g - mu' = a (g - mu), so that C' = b C + (1-b) a (g - mu)^2.
        spread = h**2 * moments[0, 0] - 2 * h * moments[0, 1] + moments[1, 1] + noise
        variance = b * variance + (1 - b) * a * spread
        moments = step @ moments @ step.T + noise * np.outer(shock, shock)
        moments[0, 0] += (eta * psi) ** 2 * variance
    return float(total / T)
