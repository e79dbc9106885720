"""Boundary collapse of the gradient SNR (PACED, Prop. 1) in two models with SNR(p) in closed form (ours).

SNR(p)^2 = |E[g|p]|^2 / tr Cov(g|p). At p -> 1 the forward-KL logit gradient pi_S - pi_T vanishes (Pinsker) against a noise floor; at
p -> 0 the gradients of different problems share less and less direction. Both mechanisms are assumptions that can be switched off here,
and then the collapse is gone: kappa = 0 (a shared direction at every p) keeps SNR(0+) > 0; a floor that vanishes as (1-p)^2, or no
floor, keeps SNR(1-) > 0; a teacher that is not one-hot moves the zero from p = 1 to an inner pass rate.

Each student offers signal_squared, noise_squared, snr_squared (arrays over p), boundary_exponents, and gradients(p, n, generator): exact
per-problem gradients by formula, for comparison with the closed forms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from paced_theory._checks import (
    FloatArray,
    check_array,
    check_broadcast,
    check_int,
    check_nonnegative,
    check_pass_rate,
    check_positive,
    check_real,
)


def forward_kl(student_logits: ArrayLike, teacher: ArrayLike) -> FloatArray:
    """KL(pi_T || pi_S) in nats over the last axis: student_logits (..., V), teacher probabilities (..., V); result (...,)."""
    logits, probabilities = _logits_and_teacher(student_logits, teacher)
    return np.asarray(-special.entr(probabilities).sum(axis=-1) - (probabilities * special.log_softmax(logits, axis=-1)).sum(axis=-1))


def forward_kl_logit_gradient(student_logits: ArrayLike, teacher: ArrayLike) -> FloatArray:
    """Gradient of `forward_kl` in the student's logits: pi_S - pi_T, shape (..., V). Its 2-norm is at most sqrt(2 KL) (Pinsker)."""
    logits, probabilities = _logits_and_teacher(student_logits, teacher)
    return np.asarray(special.softmax(logits, axis=-1) - probabilities)


def log_pass_rate_floor(bound: float, vocabulary: int, tokens: int) -> float:
    """log eps (natural) such that bounded logits keep every pass rate in [eps, 1 - eps]: -L log(1 + (V-1) e^(2B)).

    bound: B >= 0, every logit lies in [-B, B]; vocabulary: V >= 2 tokens; tokens: L >= 1, a passing and a failing response have at most L.
    A token's least probability, 1/(1 + (V-1) e^(2B)) >= e^(-2B)/V, is that of one logit at -B and all others at B; a response's is at least
    the L-th power. The logarithm, because eps itself underflows for responses of real length. Responses are sampled from the full softmax:
    greedy and truncated sampling reach p = 0. ValueError for arguments out of range. Source: PACED Assumption 2; the consequence is ours.

    >>> round(log_pass_rate_floor(2.0, 7, 1), 4)
    -5.7948
    """
    B, V, L = check_nonnegative("bound", bound), check_int("vocabulary", vocabulary, 2), check_int("tokens", tokens, 1)
    return -L * float(np.logaddexp(0.0, np.log(V - 1) + 2 * B))


@dataclass(frozen=True)
class LogisticStudent:
    """Model (a): g = -(1-p) phi + eps with phi = p^kappa u + xi, a logistic loss on features phi.

    u: unit skill direction shared by all problems; xi: idiosyncratic features, E|xi|^2 = feature_noise > 0; eps: floor,
    E|eps|^2 = noise_floor (1-p)^floor_exponent. SNR^2 = (1-p)^2 p^{2 kappa} / ((1-p)^2 feature_noise + E|eps|^2).
    dimension: of the gradient in simulation; the closed forms do not depend on it.
    """

    kappa: float = 0.5
    feature_noise: float = 1.0
    noise_floor: float = 0.1
    floor_exponent: float = 0.0
    dimension: int = 32

    def __post_init__(self) -> None:
        check_nonnegative("kappa", self.kappa)
        check_positive("feature_noise", self.feature_noise)
        check_nonnegative("noise_floor", self.noise_floor)
        check_nonnegative("floor_exponent", self.floor_exponent)
        check_int("dimension", self.dimension, 1)

    def signal_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """|E[g|p]|^2 = (1-p)^2 p^{2 kappa}."""
        p = check_pass_rate("pass_rate", pass_rate)
        return np.asarray((1 - p) ** 2 * p ** (2 * self.kappa))

    def noise_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """tr Cov(g|p) = (1-p)^2 feature_noise + noise_floor (1-p)^floor_exponent."""
        p = check_pass_rate("pass_rate", pass_rate)
        return np.asarray((1 - p) ** 2 * self.feature_noise + self._floor(p))

    def snr_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """SNR^2 at pass rates in [0, 1]; at p = 1 the limit, where noise may vanish with the signal."""
        p = check_pass_rate("pass_rate", pass_rate)
        # Divided by (1-p)^2: exact at p = 1 for every floor.
        with np.errstate(divide="ignore"):
            relative_floor = self.noise_floor * (1 - p) ** (self.floor_exponent - 2) if self.noise_floor else np.zeros_like(p)
        return np.asarray(p ** (2 * self.kappa) / (self.feature_noise + relative_floor))

    def boundary_exponents(self) -> tuple[float, float]:
        """(a', b') with SNR^2 ~ p^a' and ~ (1-p)^b': a' = 2 kappa, b' = 2 - min(2, floor_exponent), 0 without a floor."""
        return 2 * self.kappa, max(0.0, 2.0 - self.floor_exponent) if self.noise_floor > 0 else 0.0

    def gradients(self, pass_rate: float, n: int, generator: np.random.Generator, *, degrees_of_freedom: float | None = None) -> FloatArray:
        """(n, dimension) gradients of n problems with this pass rate, u being the first axis.

        degrees_of_freedom > 2 draws xi and eps from Student's t with the same second moments (heavy tails), None from a Gaussian.
        """
        p = float(check_pass_rate("pass_rate", check_real("pass_rate", pass_rate)))
        xi = _noise((check_int("n", n, 1), self.dimension), generator, degrees_of_freedom) * np.sqrt(self.feature_noise / self.dimension)
        eps = _noise((n, self.dimension), generator, degrees_of_freedom) * np.sqrt(self._floor(np.asarray(p)) / self.dimension)
        xi[:, 0] += p**self.kappa
        return np.asarray(-(1 - p) * xi + eps)

    def _floor(self, p: FloatArray) -> FloatArray:
        return np.asarray(self.noise_floor * (1 - p) ** self.floor_exponent)


@dataclass(frozen=True)
class SoftmaxStudent:
    """Model (b): a linear softmax student over V tokens, forward KL towards a teacher, mean over the tokens of a response.

    A response has L answer tokens, uniform over the vocabulary, each right with probability p^{1/L} (their product is the pass rate) and
    otherwise uniform over the V - 1 other tokens; the teacher puts 1 - teacher_error on the right token. Features of answer token y are
    h = p^kappa u_y + xi, u_y orthonormal, E|xi|^2 = feature_noise. It also has M style tokens, where the student is uniform, the teacher
    one-hot on a random token and h = xi: they cause the noise floor. A token's gradient is (pi_S - pi_T) h'. With
    D = 1 - teacher_error - p^{1/L} and s2 = feature_noise,
      SNR^2 = L^2 p^{2 kappa} D^2 / (V-1) / (L D^2 (p^{2 kappa} + s2 V/(V-1)) + M s2 (1 - 1/V)).
    """

    vocabulary: int = 8
    answer_tokens: int = 3
    style_tokens: int = 2
    kappa: float = 0.5
    feature_noise: float = 1.0
    teacher_error: float = 0.0

    def __post_init__(self) -> None:
        check_int("vocabulary", self.vocabulary, 2)
        check_int("answer_tokens", self.answer_tokens, 1)
        check_int("style_tokens", self.style_tokens, 0)
        check_nonnegative("kappa", self.kappa)
        check_positive("feature_noise", self.feature_noise)
        if not 0 <= check_nonnegative("teacher_error", self.teacher_error) < 1:
            raise ValueError(f"teacher_error must be in [0, 1), got {self.teacher_error:g}")

    @property
    def matched_pass_rate(self) -> float:
        """(1 - teacher_error)^L: where the student agrees with the teacher on every answer token and the signal is zero."""
        return float((1 - self.teacher_error) ** self.answer_tokens)

    def signal_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """|E[g|p]|^2 = (L/(L+M))^2 p^{2 kappa} D^2 / (V-1)."""
        p = check_pass_rate("pass_rate", pass_rate)
        share = self.answer_tokens / (self.answer_tokens + self.style_tokens)
        return np.asarray(share**2 * p ** (2 * self.kappa) * self._gap(p) ** 2 / (self.vocabulary - 1))

    def noise_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """tr Cov(g|p) = (L D^2 (p^{2 kappa} + s2 V/(V-1)) + M s2 (1 - 1/V)) / (L+M)^2."""
        p = check_pass_rate("pass_rate", pass_rate)
        answers = self.answer_tokens * self._gap(p) ** 2 * self._answer_noise(p)
        return np.asarray((answers + self._style_noise()) / (self.answer_tokens + self.style_tokens) ** 2)

    def snr_squared(self, pass_rate: ArrayLike) -> FloatArray:
        """SNR^2 at pass rates in [0, 1]; without style tokens, the limit where signal and noise vanish together."""
        p = check_pass_rate("pass_rate", pass_rate)
        numerator = self.answer_tokens**2 * p ** (2 * self.kappa) / (self.vocabulary - 1)
        if self.style_tokens == 0:
            return np.asarray(numerator / (self.answer_tokens * self._answer_noise(p)))
        gap = self._gap(p) ** 2
        return np.asarray(numerator * gap / (self.answer_tokens * gap * self._answer_noise(p) + self._style_noise()))

    def boundary_exponents(self) -> tuple[float, float]:
        """(a', b'): a' = 2 kappa; b' = 2 with style tokens and a one-hot teacher, else 0 (no collapse at p = 1)."""
        return 2 * self.kappa, 2.0 if self.style_tokens > 0 and self.teacher_error == 0 else 0.0

    def gradients(self, pass_rate: float, n: int, generator: np.random.Generator) -> FloatArray:
        """(n, V^2) gradients of the (V, V) weight matrix for n problems, by the exact softmax formula; Gaussian xi of dimension V."""
        p = float(check_pass_rate("pass_rate", check_real("pass_rate", pass_rate)))
        check_int("n", n, 1)
        v, answers, styles = self.vocabulary, self.answer_tokens, self.style_tokens
        right = p ** (1 / answers)
        student = np.full((v, v), (1 - right) / (v - 1))
        teacher = np.full((v, v), self.teacher_error / (v - 1))
        np.fill_diagonal(student, right)
        np.fill_diagonal(teacher, 1 - self.teacher_error)
        with np.errstate(divide="ignore"):  # log 0 = -inf is the right logit of a token without mass
            answer_gradient = special.softmax(np.log(student), axis=-1) - teacher  # row y: pi_S - pi_T when y is the right token
        style_gradient = forward_kl_logit_gradient(np.zeros((v, v)), np.eye(v))

        total = np.zeros((n, v, v))
        scale = np.sqrt(self.feature_noise / v)
        for _ in range(answers):
            tokens = generator.integers(v, size=n)
            features = generator.standard_normal((n, v)) * scale
            features[np.arange(n), tokens] += p**self.kappa
            total += answer_gradient[tokens][:, :, None] * features[:, None, :]
        for _ in range(styles):
            tokens = generator.integers(v, size=n)
            total += style_gradient[tokens][:, :, None] * (generator.standard_normal((n, v)) * scale)[:, None, :]
        return np.asarray(total.reshape(n, v * v) / (answers + styles))

    def _gap(self, p: FloatArray) -> FloatArray:
        """D: what the student's probability of the right token lacks, without cancellation near p = 1."""
        with np.errstate(divide="ignore"):
            return np.asarray(-np.expm1(np.log(p) / self.answer_tokens) - self.teacher_error)

    def _answer_noise(self, p: FloatArray) -> FloatArray:
        return np.asarray(p ** (2 * self.kappa) + self.feature_noise * self.vocabulary / (self.vocabulary - 1))

    def _style_noise(self) -> float:
        return self.style_tokens * self.feature_noise * (1 - 1 / self.vocabulary)


def _noise(shape: tuple[int, int], generator: np.random.Generator, degrees_of_freedom: float | None) -> FloatArray:
    """Independent entries of variance one."""
    if degrees_of_freedom is None:
        return generator.standard_normal(shape)
    nu = check_positive("degrees_of_freedom", degrees_of_freedom)
    if nu <= 2:
        raise ValueError(f"degrees_of_freedom must be > 2 for a finite variance, got {degrees_of_freedom:g}")
    return np.asarray(generator.standard_t(nu, shape) * np.sqrt((nu - 2) / nu))


def _logits_and_teacher(student_logits: ArrayLike, teacher: ArrayLike) -> tuple[FloatArray, FloatArray]:
    logits, probabilities = check_array("student_logits", student_logits), check_array("teacher", teacher)
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(f"student_logits must have at least 2 entries along its last axis, got shape {logits.shape}")
    if probabilities.ndim == 0 or probabilities.shape[-1] != logits.shape[-1]:
        raise ValueError(
            f"teacher must have {logits.shape[-1]} entries along its last axis, as student_logits, got shape {probabilities.shape}"
        )
    if (probabilities < 0).any() or (np.abs(probabilities.sum(axis=-1) - 1) > 1e-9).any():
        raise ValueError(
            f"teacher must hold probabilities that sum to one along the last axis, got least entry {probabilities.min():g} and sums from "
            f"{np.min(probabilities.sum(axis=-1)):g} to {np.max(probabilities.sum(axis=-1)):g}"
        )
    check_broadcast(("student_logits", logits), ("teacher", probabilities))
    return logits, probabilities
