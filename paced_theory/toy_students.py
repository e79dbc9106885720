"""Two toy students too small for their teachers, with exact forward and reverse KL and gradients.

`GaussianStudent`: one Gaussian for a 1-D Gaussian mixture. `SoftmaxFamily`: pi_theta proportional to exp(features theta) over V categories
with fewer parameters than the teacher has modes. Divergences are in nats. Axes: S parameter vectors (starts), D parameters, V categories,
C components, N quadrature nodes.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from paced_theory._checks import FloatArray, check_array, check_int

_NODES = 241


class Student(Protocol):
    """A family of students with a fixed teacher: losses and gradients for many parameter vectors at once."""

    @property
    def parameters(self) -> int:
        """D."""

    def forward_kl(self, theta: FloatArray) -> FloatArray:
        """KL(teacher || student), (S,) from theta (S, D)."""

    def reverse_kl(self, theta: FloatArray) -> FloatArray:
        """KL(student || teacher), (S,)."""

    def forward_gradient(self, theta: FloatArray) -> FloatArray:
        """Gradient of `forward_kl`, (S, D)."""

    def reverse_gradient(self, theta: FloatArray) -> FloatArray:
        """Gradient of `reverse_kl`, (S, D)."""

    def best_mode_mass(self, theta: FloatArray) -> FloatArray:
        """Student's probability of the teacher's best mode, (S,)."""

    def on_best_mode(self, theta: FloatArray) -> NDArray[np.bool_]:
        """Whether the student's own mode lies on the teacher's best mode, (S,)."""

    def draw_starts(self, n: int, generator: np.random.Generator) -> FloatArray:
        """n random parameter vectors to start from, (n, D)."""


@dataclass(frozen=True)
class GaussianStudent:
    """N(mu, sigma^2), theta = (mu, log sigma), for the teacher sum_c weights_c N(means_c, scales_c^2).

    Forward KL has gradient ((mu - m) / sigma^2, 1 - E_T (x - mu)^2 / sigma^2), zero only at the teacher's moments. The reverse gradient
    is (-E[l'(x)], -1 - E[(x - mu) l'(x)]) with l = log teacher and x from the student, by quadrature. The best mode is the
    component with the largest weight; its mass is the student's mass between the lowest points of the teacher's density that separate it
    from its neighbours.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = check_array("weights", self.weights, ndim=1)
        means, scales = check_array("means", self.means, ndim=1), check_array("scales", self.scales, ndim=1)
        if not weights.shape == means.shape == scales.shape:
            raise ValueError(f"weights, means and scales must have equal lengths, got {weights.size}, {means.size} and {scales.size}")
        if (weights <= 0).any() or abs(weights.sum() - 1) > 1e-9:
            raise ValueError(f"weights must be positive and sum to one, got least {weights.min():g} and sum {weights.sum():g}")
        if (scales <= 0).any():
            raise ValueError(f"scales must be positive, got {scales.min():g}")
        if (np.diff(means) <= 0).any():
            raise ValueError(f"means must increase strictly, got {tuple(means)}")

    @property
    def parameters(self) -> int:
        return 2

    def _log_teacher(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """log density and its derivative at x, both of x's shape."""
        # One contiguous array a component: four times as fast as a trailing axis of length two or three.
        z = [(x - mean) / scale for mean, scale in zip(self.means, self.scales, strict=True)]
        offsets = np.log(self.weights) - np.log(self.scales) - 0.5 * np.log(2 * np.pi)
        log_parts = [offset - 0.5 * z_c**2 for offset, z_c in zip(offsets, z, strict=True)]
        largest = np.maximum.reduce(log_parts)
        parts = [np.exp(log_part - largest) for log_part in log_parts]
        total = np.add.reduce(parts)
        slope = np.add.reduce([part * z_c / scale for part, z_c, scale in zip(parts, z, self.scales, strict=True)])
        return largest + np.log(total), -slope / total

    def moments(self) -> tuple[float, float]:
        """Mean and variance of the teacher: where forward KL is least."""
        weights, means, scales = np.array(self.weights), np.array(self.means), np.array(self.scales)
        mean = float(weights @ means)
        return mean, float(weights @ (scales**2 + (means - mean) ** 2))

    def _student_nodes(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Standard normal nodes (N,), their weights (N,) and the student's points (S, N)."""
        nodes, weights = _normal_quadrature()
        return nodes, weights, theta[:, :1] + np.exp(theta[:, 1:]) * nodes

    def forward_kl(self, theta: FloatArray) -> FloatArray:
        mean, variance = self.moments()
        cross_entropy = 0.5 * np.log(2 * np.pi) + theta[:, 1] + (variance + (mean - theta[:, 0]) ** 2) / (2 * np.exp(2 * theta[:, 1]))
        return np.asarray(cross_entropy - self._teacher_entropy())

    def _teacher_entropy(self) -> float:
        """-E_T log T by quadrature within each component."""
        points = np.array([[m, np.log(s)] for m, s in zip(self.means, self.scales, strict=True)])
        _, weights, x = self._student_nodes(points)
        return float(-np.array(self.weights) @ (self._log_teacher(x)[0] @ weights))

    def reverse_kl(self, theta: FloatArray) -> FloatArray:
        _, weights, x = self._student_nodes(theta)
        entropy = 0.5 * np.log(2 * np.pi * np.e) + theta[:, 1]
        return np.asarray(-entropy - self._log_teacher(x)[0] @ weights)

    def forward_gradient(self, theta: FloatArray) -> FloatArray:
        mean, variance = self.moments()
        precision = np.exp(-2 * theta[:, 1])
        offset = theta[:, 0] - mean
        return np.stack([offset * precision, 1 - (variance + offset**2) * precision], axis=1)

    def reverse_gradient(self, theta: FloatArray) -> FloatArray:
        nodes, weights, x = self._student_nodes(theta)
        slope = self._log_teacher(x)[1]
        return np.stack([-slope @ weights, -1 - np.exp(theta[:, 1]) * (slope @ (weights * nodes))], axis=1)

    def best_mode_interval(self) -> tuple[float, float]:
        """Ends of the best mode's basin: the lowest points of the density between its mean and its neighbours' means."""
        best = int(np.argmax(self.weights))
        edges = [-np.inf, np.inf]
        for side, neighbour in ((0, best - 1), (1, best + 1)):
            if 0 <= neighbour < len(self.means):
                between = np.linspace(self.means[best], self.means[neighbour], 2001)
                edges[side] = float(between[np.argmin(self._log_teacher(between)[0])])
        return edges[0], edges[1]

    def best_mode_mass(self, theta: FloatArray) -> FloatArray:
        low, high = self.best_mode_interval()
        sigma = np.exp(theta[:, 1])
        return np.asarray(special.ndtr((high - theta[:, 0]) / sigma) - special.ndtr((low - theta[:, 0]) / sigma))

    def on_best_mode(self, theta: FloatArray) -> NDArray[np.bool_]:
        low, high = self.best_mode_interval()
        return (low < theta[:, 0]) & (theta[:, 0] < high)

    def draw_starts(self, n: int, generator: np.random.Generator) -> FloatArray:
        """mu uniform from two scales below the first mean to two above the last, sigma log-uniform in [0.3, 2]."""
        low, high = self.means[0] - 2 * self.scales[0], self.means[-1] + 2 * self.scales[-1]
        return np.stack([generator.uniform(low, high, n), generator.uniform(np.log(0.3), np.log(2.0), n)], axis=1)


@dataclass(frozen=True)
class SoftmaxFamily:
    """pi_theta = softmax(features theta) over V categories for a categorical teacher; each category counts as one mode.

    features: (V, D) with D < V - 1, so that the student cannot match every teacher; teacher: (V,) probabilities, all positive.
    Logit gradients: forward pi_S - pi_T; reverse pi_S (log pi_S - log pi_T - KL); both then times features.
    """

    features: FloatArray
    teacher: FloatArray

    def __post_init__(self) -> None:
        features, teacher = check_array("features", self.features, ndim=2), check_array("teacher", self.teacher, ndim=1)
        if features.shape[0] != teacher.size:
            raise ValueError(f"features must have one row for each of the {teacher.size} categories, got shape {features.shape}")
        if features.shape[1] >= teacher.size - 1:
            raise ValueError(f"features must have fewer than V - 1 = {teacher.size - 1} columns, got {features.shape[1]}")
        if (teacher <= 0).any() or abs(teacher.sum() - 1) > 1e-9:
            raise ValueError(f"teacher must be positive and sum to one, got least {teacher.min():g} and sum {teacher.sum():g}")

    @property
    def parameters(self) -> int:
        return int(self.features.shape[1])

    def _log_student(self, theta: FloatArray) -> FloatArray:
        return np.asarray(special.log_softmax(theta @ self.features.T, axis=-1))

    def forward_kl(self, theta: FloatArray) -> FloatArray:
        return np.asarray((np.log(self.teacher) - self._log_student(theta)) @ self.teacher)

    def reverse_kl(self, theta: FloatArray) -> FloatArray:
        log_student = self._log_student(theta)
        return np.asarray((np.exp(log_student) * (log_student - np.log(self.teacher))).sum(axis=1))

    def forward_gradient(self, theta: FloatArray) -> FloatArray:
        return np.asarray((np.exp(self._log_student(theta)) - self.teacher) @ self.features)

    def reverse_gradient(self, theta: FloatArray) -> FloatArray:
        log_student = self._log_student(theta)
        student, log_ratio = np.exp(log_student), log_student - np.log(self.teacher)
        divergence = (student * log_ratio).sum(axis=1, keepdims=True)
        return np.asarray((student * (log_ratio - divergence)) @ self.features)

    def best_mode_mass(self, theta: FloatArray) -> FloatArray:
        return np.asarray(np.exp(self._log_student(theta))[:, int(np.argmax(self.teacher))])

    def on_best_mode(self, theta: FloatArray) -> NDArray[np.bool_]:
        return np.asarray(self._log_student(theta).argmax(axis=1) == np.argmax(self.teacher))

    def draw_starts(self, n: int, generator: np.random.Generator) -> FloatArray:
        """Independent normal parameters with standard deviation 1.5."""
        return 1.5 * generator.standard_normal((n, self.parameters))


def random_mixture(generator: np.random.Generator) -> GaussianStudent:
    """A teacher of two or three components: Dirichlet(4) weights, gaps uniform in [1.5, 4], scales uniform in [0.3, 1]."""
    components = int(generator.integers(2, 4))
    weights = generator.dirichlet(np.full(components, 4.0))
    means = np.concatenate([[0.0], np.cumsum(generator.uniform(1.5, 4.0, components - 1))])
    scales = generator.uniform(0.3, 1.0, components)
    return GaussianStudent(tuple(weights.tolist()), tuple((means - weights @ means).tolist()), tuple(scales.tolist()))


def random_softmax(generator: np.random.Generator, *, categories: int = 12, parameters: int = 3) -> SoftmaxFamily:
    """A teacher with normal logits of standard deviation 1.5 and a student with standard normal features."""
    features = generator.standard_normal((check_int("categories", categories, 3), check_int("parameters", parameters, 1)))
    return SoftmaxFamily(features, special.softmax(1.5 * generator.standard_normal(categories)))


@cache
def _normal_quadrature() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the trapezoidal rule for expectations under N(0, 1), normalised to sum to one.

    The log of a mixture bends sharply between its modes. There even 96 Gauss-Hermite nodes are off by 0.3 in the gradient, enough to
    invent broad stationary points of reverse KL; the trapezoidal rule, dense everywhere, is off by less than 0.003 (1 + |gradient|).
    """
    nodes = np.linspace(-7.0, 7.0, _NODES)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()
