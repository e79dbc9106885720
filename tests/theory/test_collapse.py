"""Closed forms of both collapse models against exact gradients, finite differences and log-log regression."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from paced_theory.collapse import LogisticStudent, SoftmaxStudent, forward_kl, forward_kl_logit_gradient, log_pass_rate_floor
from paced_theory.representation import boundary_exponent, fit_leading_order, log_log_slope

COMMON = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 10_000)

logistic_students = st.builds(
    LogisticStudent,
    kappa=st.floats(0, 2),
    feature_noise=st.floats(0.1, 5),
    noise_floor=st.one_of(st.just(0.0), st.floats(0.01, 5)),
    floor_exponent=st.floats(0, 4),
)
softmax_students = st.builds(
    SoftmaxStudent,
    vocabulary=st.integers(2, 12),
    answer_tokens=st.integers(1, 5),
    style_tokens=st.integers(0, 4),
    kappa=st.floats(0, 2),
    feature_noise=st.floats(0.1, 5),
    teacher_error=st.sampled_from([0.0, 0.1]),
)


def split_moments(gradients):
    """|mean|^2 and trace of the covariance by splitting the sample: the product of two half means is free of the n2/n bias."""
    half = len(gradients) // 2
    signal = float(gradients[:half].mean(axis=0) @ gradients[half:].mean(axis=0))
    return signal, float(gradients.var(axis=0, ddof=1).sum())


# --- the logit gradient ---------------------------------------------------------------------------------------------------------------


@COMMON
@given(seed=seeds, size=st.integers(2, 8))
def test_logit_gradient_equals_finite_differences_and_kl_equals_scipy(seed, size):
    rng = np.random.default_rng(seed)
    logits, teacher = 3 * rng.normal(size=size), rng.dirichlet(np.ones(size))
    assert forward_kl(logits, teacher) == pytest.approx(stats.entropy(teacher, special.softmax(logits)), abs=1e-12)
    h = 1e-6
    numeric = [(forward_kl(logits + h * e, teacher) - forward_kl(logits - h * e, teacher)) / (2 * h) for e in np.eye(size)]
    assert forward_kl_logit_gradient(logits, teacher) == pytest.approx(np.array(numeric), abs=1e-8)


@COMMON
@given(seed=seeds, scale=st.floats(1e-3, 10))
def test_pinsker_bounds_the_logit_gradient(seed, scale):
    rng = np.random.default_rng(seed)
    teacher = special.softmax(rng.normal(size=(20, 6)), axis=-1)
    logits = np.log(teacher) + scale * rng.normal(size=(20, 6))
    norms = np.linalg.norm(forward_kl_logit_gradient(logits, teacher), axis=-1)
    assert (norms <= np.sqrt(2 * forward_kl(logits, teacher)) + 1e-9).all()


def test_a_one_hot_teacher_gives_cross_entropy():
    logits = np.array([[0.3, -1.0, 2.0]])
    assert forward_kl(logits, [[0.0, 0.0, 1.0]]) == pytest.approx(-special.log_softmax(logits, axis=-1)[:, 2])


# --- closed forms against exact gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    "student",
    [
        LogisticStudent(),
        LogisticStudent(kappa=1.0, feature_noise=0.3, noise_floor=0.5, floor_exponent=1.0, dimension=4),
        SoftmaxStudent(),
        SoftmaxStudent(vocabulary=4, answer_tokens=2, style_tokens=1, kappa=0.2, feature_noise=0.5, teacher_error=0.2),
    ],
)
def test_simulated_moments_match_the_closed_forms(student, p):
    rng = np.random.default_rng(7)
    blocks = np.array([split_moments(student.gradients(p, 2000, rng)) for _ in range(12)])
    for values, expected in zip(blocks.T, (student.signal_squared(p), student.noise_squared(p)), strict=True):
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert abs(values.mean() - expected) < 4 * error
        assert error < 0.05 * student.noise_squared(p)  # the comparison means something


def test_simulated_mean_gradient_points_along_the_shared_direction():
    mean = LogisticStudent(kappa=0.5, dimension=5).gradients(0.36, 200_000, np.random.default_rng(0)).mean(axis=0)
    assert mean == pytest.approx([-0.64 * 0.6, 0, 0, 0, 0], abs=0.006)


def test_heavy_tails_leave_the_second_moments_and_so_the_snr_unchanged():
    student, rng = LogisticStudent(dimension=4), np.random.default_rng(1)
    blocks = np.array([split_moments(student.gradients(0.5, 4000, rng, degrees_of_freedom=5)) for _ in range(12)])
    error = blocks.std(axis=0, ddof=1) / math.sqrt(12)
    assert (np.abs(blocks.mean(axis=0) - [student.signal_squared(0.5), student.noise_squared(0.5)]) < 4 * error).all()
    entries = student.gradients(0.5, 50_000, rng, degrees_of_freedom=5)[:, 1]
    assert stats.kurtosis(entries) > 1  # and the tails are heavy indeed


@COMMON
@given(student=st.one_of(logistic_students, softmax_students), p=st.floats(0.001, 0.999))
def test_snr_squared_is_the_ratio_of_its_parts(student, p):
    ratio = student.signal_squared(p) / student.noise_squared(p)
    assert float(student.snr_squared(p)) == pytest.approx(float(ratio), rel=1e-9)


@COMMON
@given(student=st.one_of(logistic_students, softmax_students))
def test_snr_vanishes_at_an_end_exactly_where_its_exponent_is_positive(student):
    at_0, at_1 = student.snr_squared([0.0, 1.0])
    a, b = student.boundary_exponents()
    assert (at_0 == 0) == (a > 0)
    assert (at_1 == 0) == (b > 0)


@COMMON
@given(student=logistic_students)
def test_logistic_exponents_are_recovered_by_regression_near_the_boundaries(student):
    x = np.geomspace(1e-14, 1e-12, 9)
    a, b = student.boundary_exponents()
    assert log_log_slope(x, student.snr_squared(x))[0] == pytest.approx(a, abs=1e-6)
    near_1 = 1 - np.exp2(-np.arange(44.0, 50.0))  # exact distances from 1
    # The floor (1-p)^nu dominates the feature noise (1-p)^2 only slowly when nu is close to 2.
    assume_resolved = student.noise_floor == 0 or abs(student.floor_exponent - 2) > 0.5
    if assume_resolved:
        assert log_log_slope(1 - near_1, student.snr_squared(near_1))[0] == pytest.approx(b, abs=1e-3)


@COMMON
@given(student=softmax_students)
def test_softmax_exponents_are_recovered_near_the_boundaries(student):
    a, b = student.boundary_exponents()
    found = boundary_exponent(student.snr_squared, depth=150)
    assert found.is_power_law and found.exponent == pytest.approx(a, abs=1e-4)
    near_1 = 1 - np.exp2(-np.arange(20.0, 40.0))
    assert log_log_slope(1 - near_1, student.snr_squared(near_1))[0] == pytest.approx(b, abs=2e-3)


def test_exponents_are_recovered_from_simulated_gradients():
    student, rng = LogisticStudent(dimension=4), np.random.default_rng(3)
    for distances, reflect, expected, tolerance in (
        (np.geomspace(0.005, 0.05, 6), False, 1.0, 0.06),
        (np.geomspace(0.02, 0.08, 6), True, 2.0, 0.15),
    ):
        estimates = []
        for x in distances:
            signal, noise = split_moments(student.gradients(1 - x if reflect else x, 60_000, rng))
            estimates.append(signal / noise)
        slope, error = log_log_slope(distances, estimates)
        assert slope == pytest.approx(expected, abs=tolerance)
        assert error < tolerance


def test_a_leading_order_fit_over_all_bins_sees_the_whole_curve():
    p = (np.arange(19) + 0.5) / 19
    student = LogisticStudent(noise_floor=50.0)  # the floor dominates: SNR^2 = p (1-p)^2 / (50 + ...) up to a small remainder
    y = student.snr_squared(p)
    fit = fit_leading_order(p, y, 0.01 * y)
    assert (fit.a, fit.b) == pytest.approx((1, 2), abs=0.03)
    assert fit.guaranteed_efficiency > 0.999


# --- where the collapse fails ---------------------------------------------------------------------------------------------------------


def test_without_its_causes_the_collapse_is_gone():
    assert LogisticStudent(noise_floor=0).snr_squared(1.0) == pytest.approx(1.0)  # no floor: 1 / feature_noise
    assert LogisticStudent(floor_exponent=2.0).snr_squared(1.0) == pytest.approx(1 / 1.1)  # floor as fast as the signal
    assert LogisticStudent(floor_exponent=3.0).snr_squared(1.0) == pytest.approx(1.0)
    assert LogisticStudent(kappa=0).snr_squared(0.0) == pytest.approx(1 / 1.1)  # a direction shared at every p
    assert SoftmaxStudent(style_tokens=0).snr_squared(1.0) > 0


def test_an_uncertain_teacher_moves_the_zero_inside():
    student = SoftmaxStudent(answer_tokens=3, teacher_error=0.1)
    assert student.matched_pass_rate == pytest.approx(0.9**3)
    assert student.snr_squared(student.matched_pass_rate) == pytest.approx(0, abs=1e-28)
    assert student.snr_squared(1.0) > 0.005
    assert SoftmaxStudent().matched_pass_rate == 1


# --- reproducibility and bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", [LogisticStudent(), SoftmaxStudent()])
def test_the_same_seed_gives_the_same_gradients(student):
    first, second, other = (student.gradients(0.4, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == second.tobytes() != other.tobytes()
    assert first.shape == (50, 32 if isinstance(student, LogisticStudent) else 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LogisticStudent(kappa=-1), "kappa must be a finite number >= 0, got -1"),
        (lambda: LogisticStudent(feature_noise=0), "feature_noise must be a finite number > 0"),
        (lambda: LogisticStudent(noise_floor=-1), "noise_floor"),
        (lambda: LogisticStudent(floor_exponent=math.nan), "floor_exponent"),
        (lambda: LogisticStudent(dimension=0), "dimension must be an integer >= 1"),
        (lambda: LogisticStudent().snr_squared(1.2), r"pass_rate must be pass rates in \[0, 1\], got 1.2"),
        (lambda: LogisticStudent().signal_squared(-0.1), "pass_rate"),
        (lambda: LogisticStudent().noise_squared(math.nan), "pass_rate"),
        (lambda: LogisticStudent().gradients(0.5, 0, np.random.default_rng(0)), "n must be an integer >= 1"),
        (lambda: LogisticStudent().gradients(0.5, 2, np.random.default_rng(0), degrees_of_freedom=2), "degrees_of_freedom must be > 2"),
        (lambda: SoftmaxStudent(vocabulary=1), "vocabulary must be an integer >= 2"),
        (lambda: SoftmaxStudent(answer_tokens=0), "answer_tokens"),
        (lambda: SoftmaxStudent(style_tokens=-1), "style_tokens"),
        (lambda: SoftmaxStudent(kappa=-1), "kappa"),
        (lambda: SoftmaxStudent(feature_noise=0), "feature_noise"),
        (lambda: SoftmaxStudent(teacher_error=1.0), r"teacher_error must be in \[0, 1\), got 1"),
        (lambda: SoftmaxStudent().gradients(1.5, 2, np.random.default_rng(0)), "pass_rate"),
        (lambda: SoftmaxStudent().gradients(0.5, 0, np.random.default_rng(0)), "n must be"),
        (lambda: forward_kl([1.0], [1.0]), "student_logits must have at least 2 entries along its last axis"),
        (lambda: forward_kl([0.0, math.nan], [0.5, 0.5]), "student_logits"),
        (
            lambda: forward_kl([0.0, 0.0], [0.5, 0.4]),
            "teacher must hold probabilities that sum to one.*got least entry 0.4 and sums from 0.9",
        ),
        (lambda: forward_kl_logit_gradient([0.0, 0.0], [1.5, -0.5]), "teacher must hold probabilities"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- bounded logits -------------------------------------------------------------------------------------------------------------------


def log_pass_rate(logits, answer):
    """log probability of one answer (L,) under a student with logits (L, V) along that answer's own prefixes."""
    return float(special.log_softmax(logits, axis=-1)[np.arange(len(answer)), answer].sum())


@COMMON
@given(seed=seeds, bound=st.floats(0, 30), vocabulary=st.integers(2, 9), tokens=st.integers(1, 6))
def test_no_student_of_bounded_logits_is_below_the_floor_and_the_worst_one_is_on_it(seed, bound, vocabulary, tokens):
    rng = np.random.default_rng(seed)
    answer = rng.integers(vocabulary, size=tokens)
    floor = log_pass_rate_floor(bound, vocabulary, tokens)
    assert log_pass_rate(rng.uniform(-bound, bound, (tokens, vocabulary)), answer) >= floor - 1e-9
    worst = np.full((tokens, vocabulary), bound)
    worst[np.arange(tokens), answer] = -bound
    assert log_pass_rate(worst, answer) == pytest.approx(floor, rel=1e-12, abs=1e-12)
    assert floor >= -tokens * (2 * bound + math.log(vocabulary)) - 1e-9  # (e^(-2B)/V)^L


def test_the_floor_is_finite_where_the_pass_rate_underflows():
    assert log_pass_rate_floor(500.0, 151_936, 8_192) == pytest.approx(-8_192 * (1000 + math.log(151_935)), rel=1e-12)
    assert log_pass_rate_floor(0.0, 10, 3) == pytest.approx(-3 * math.log(10))
