"""What signatures and docstrings promise beyond values: array ranks, signs, precision, defaults, options passed on, laws drawn from."""

import math

import numpy as np
import pytest
from scipy import special, stats

from paced_theory import collapse, convergence, representation, robustness, snr, stages, toy_students, verify
from paced_theory.claims import ledger

P = np.linspace(0.1, 0.9, 6)
Y = P * (1 - P)
PAIR = np.array([0.5, 0.5])
MIXTURE = toy_students.GaussianStudent((0.3, 0.4, 0.3), (-3.0, 0.0, 2.5), (0.5, 0.5, 0.7))
FEATURES = np.random.default_rng(0).standard_normal((5, 2))
TEACHER = np.full(5, 0.2)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: convergence.variance_ratio_of([PAIR], PAIR), "weight"),
        (lambda: convergence.variance_ratio_of(PAIR, [PAIR]), "noise_variance"),
        (lambda: convergence.variance_ratio_of(PAIR, PAIR, [PAIR]), "probability"),
        (lambda: convergence.quadratic([PAIR]), "curvatures"),
        (lambda: representation.log_log_slope([P], [Y]), "distance"),
        (lambda: representation.log_log_slope(P, [Y]), "values"),
        (lambda: representation.fit_leading_order([P], [Y], [Y]), "pass_rate"),
        (lambda: representation.fit_leading_order(P, [Y], Y), "snr_squared"),
        (lambda: representation.fit_leading_order_batch([P], [Y], [Y]), "pass_rate"),
        (lambda: representation.fit_leading_order_batch(P, Y, Y), "snr_squared"),
        (lambda: robustness.aggregate_efficiency([PAIR]), "eps"),
        (lambda: robustness.aggregate_efficiency(PAIR, [PAIR]), "nu"),
        (lambda: robustness.worst_case_of_weight([PAIR], PAIR, 0.3), "log_ratio"),
        (lambda: robustness.worst_case_of_weight(PAIR, [PAIR], 0.3), "nu"),
        (lambda: robustness.saddle_point([PAIR], 0.3), "nu"),
        (lambda: stages.run_schedule(MIXTURE, PAIR, "forward"), "starts"),
        (lambda: stages.stage_outcomes(MIXTURE, np.zeros(4)), "starts"),
        (lambda: stages.mean_interval([PAIR]), "sample"),
        (lambda: toy_students.GaussianStudent([PAIR], PAIR, PAIR), "weights"),
        (lambda: toy_students.GaussianStudent(PAIR, [PAIR], PAIR), "means"),
        (lambda: toy_students.GaussianStudent(PAIR, [0.0, 1.0], [PAIR]), "scales"),
        (lambda: toy_students.SoftmaxFamily(TEACHER, TEACHER), "features"),
        (lambda: toy_students.SoftmaxFamily(FEATURES, [TEACHER]), "teacher"),
    ],
)
def test_an_array_of_another_rank_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name} must be a \d-dimensional array of finite real numbers, got one of shape"):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: representation.log_log_slope(P[:2], Y), "distance must have at least 3 entries"),
        (lambda: representation.log_log_slope(P, Y[:2]), "values must have at least 3 entries"),
        (lambda: representation.fit_leading_order(P[:3], Y[:3], Y[:3]), "pass_rate must have at least 4 entries"),
        (lambda: representation.fit_leading_order_batch(P[:3], [Y[:3]], Y[:3]), "pass_rate must have at least 4 entries"),
        (lambda: stages.stage_outcomes(MIXTURE, np.zeros((1, 2))), "starts must have at least 4 entries"),
        (lambda: stages.mean_interval([1.0]), "sample must have at least 2 entries"),
        (lambda: snr.effective_rank(np.eye(2)), "an effective rank needs at least 3 gradients, got 2"),
    ],
)
def test_too_few_entries_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# ---- collapse


def test_divergences_of_a_batch_are_those_of_its_rows():
    rng = np.random.default_rng(1)
    logits, teacher = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(3), size=4)
    rows = [float(collapse.forward_kl(a, b)) for a, b in zip(logits, teacher, strict=True)]
    assert collapse.forward_kl(logits, teacher) == pytest.approx(rows)
    expected = [stats.entropy(t, special.softmax(x)) for x, t in zip(logits, teacher, strict=True)]
    assert rows == pytest.approx(expected)
    shaped = collapse.forward_kl(logits.reshape(2, 2, 3), teacher.reshape(2, 2, 3))
    assert shaped == pytest.approx(np.reshape(rows, (2, 2)))


def test_gradients_point_against_the_skill_the_student_lacks():
    """Descending them must raise the right token's logit along the shared feature: the mean gradient is negative there."""
    logistic = collapse.LogisticStudent(kappa=0.5, feature_noise=0.01, noise_floor=0.01)
    mean = logistic.gradients(0.5, 400, np.random.default_rng(0)).mean(axis=0)
    assert mean[0] == pytest.approx(-0.5 * math.sqrt(0.5), abs=0.01) and np.abs(mean[1:]).max() < 0.01
    student = collapse.SoftmaxStudent(vocabulary=3, answer_tokens=1, style_tokens=0, feature_noise=1e-6)
    mean = student.gradients(0.25, 3000, np.random.default_rng(0)).mean(axis=0).reshape(3, 3)
    off = 0.25**0.5 * 0.75 / 2 / 3  # row y: (1 - p)/2 on each of the two wrong tokens, for a third of the problems
    expected = np.where(np.eye(3, dtype=bool), -(0.25**0.5) * 0.75 / 3, off)
    assert mean == pytest.approx(expected, abs=0.01)


def test_heavy_tails_reach_the_floor_too():
    student, rng = collapse.LogisticStudent(noise_floor=2.0, dimension=4), np.random.default_rng(3)
    found = student.gradients(1.0, 5, np.random.default_rng(3), degrees_of_freedom=5.0)
    rng.standard_t(5.0, (5, 4))  # xi, which 1 - p = 0 silences
    assert found == pytest.approx(rng.standard_t(5.0, (5, 4)) * math.sqrt(3 / 5) * math.sqrt(2.0 / 4))
    with pytest.raises(ValueError, match=r"^degrees_of_freedom must be > 2 .*, got 2$"):
        student.gradients(0.5, 5, rng, degrees_of_freedom=2.0)
    assert np.isfinite(student.gradients(0.5, 5, rng, degrees_of_freedom=2.5)).all()


def test_one_problem_is_enough_for_gradients():
    assert collapse.SoftmaxStudent().gradients(0.5, 1, np.random.default_rng(0)).shape == (1, 64)


# ---- representation and robustness


def test_depth_reaches_both_boundaries():
    asked = []

    def f(x):
        asked.append(x.size)
        return x * (1 - x)

    representation.boundary_exponents(f, depth=11)
    assert asked == [11, 11]
    asked.clear()
    representation.boundary_exponent(f), representation.boundary_exponents(f)
    assert asked == [40, 40, 40]


def test_slopes_that_settle_too_slowly_are_not_extrapolated():
    found = representation.boundary_exponent(lambda x: x * np.abs(np.log(x)), depth=1000)
    last = math.log2(999 / 1000) + 1  # log2 f(2^-999) - log2 f(2^-1000)
    assert found.exponent == pytest.approx(last, abs=1e-12) and not found.is_power_law


def test_a_weight_of_any_scale_has_the_same_worst_case():
    log_ratio, nu = np.array([0.0, 0.2, -0.1]), np.array([0.5, 0.3, 0.2])
    value, law = robustness.worst_case_of_weight(log_ratio, nu, 0.3)
    assert law.shape == (3, 21) and law.sum(axis=1) == pytest.approx(np.ones(3))
    for shift in (-600.0, 600.0):
        assert robustness.worst_case_of_weight(log_ratio + shift, nu, 0.3)[0] == pytest.approx(value, rel=1e-6)


def test_grids_have_their_stated_size():
    assert robustness.find_adversary(0.3).eps.size == 101 and robustness.find_adversary(0.3, grid=5).eps.size == 5
    assert robustness.worst_case_of_weight([0.0, 0.1], PAIR, 0.3, grid=7)[1].shape == (2, 7)


def test_exponents_default_to_the_paper_s():
    for function in (robustness.beta_misspecification_loss, robustness.beta_misspecification_curvature):
        assert function(0.2, 0.3) == function(0.2, 0.3, 1.0, 1.0, (1.0, 1.0))
        assert function(0.2, 0.3, 2.0) == function(0.2, 0.3, 2.0, 1.0) != function(0.2, 0.3)
        assert np.isfinite(function(0.1, 0.1, 0.0, 0.0, (0.4, 0.4)))  # 2 alpha + a between 0 and 1 is allowed


# ---- SNR


def test_effective_rank_follows_its_definition():
    g = np.random.default_rng(2).standard_normal((5, 4)) + 1.0
    centred = g - g.mean(axis=0)
    trace = sum(float(row @ row) for row in centred) / 4
    squares = [float(a @ b) ** 2 for i, a in enumerate(centred) for j, b in enumerate(centred) if i != j]
    assert snr.effective_rank(g @ g.T) == pytest.approx(trace**2 / np.mean(squares))
    assert np.isfinite(snr.effective_rank(g[:3] @ g[:3].T))


def test_single_precision_input_is_computed_in_double():
    g = np.random.default_rng(4).standard_normal((6, 5)).astype(np.float32)
    exact = g.astype(np.float64)
    assert snr.estimate_snr(g) == snr.estimate_snr(exact)
    assert (snr.gram_from_sketch(g, (g**2).sum(axis=1)) == snr.gram_from_sketch(exact, (g**2).sum(axis=1).astype(np.float64))).all()
    gram = (exact @ exact.T).astype(np.float32)
    assert snr.estimate_snr_from_gram(gram) == snr.estimate_snr_from_gram(gram.astype(np.float64))
    norms, projections = np.diag(gram), gram.sum(axis=1)
    assert snr.estimate_snr_from_sums(norms, projections) == snr.estimate_snr_from_sums(
        norms.astype(np.float64), projections.astype(np.float64)
    )


def test_gram_matrices_may_be_asymmetric_by_rounding_only():
    g = np.random.default_rng(5).standard_normal((4, 6))
    gram, ones = g @ g.T, np.triu(np.ones((4, 4)), 1)
    assert snr.estimate_snr_from_gram(gram + 1e-12 * ones).snr_squared == pytest.approx(snr.estimate_snr_from_gram(gram).snr_squared)
    for size in (1e-6, 1e-2):
        with pytest.raises(ValueError, match="gram must be symmetric"):
            snr.estimate_snr_from_gram(gram + size * ones)
        with pytest.raises(ValueError, match="gram must be symmetric"):  # at any scale
            snr.estimate_snr_from_gram(1e-8 * (gram + size * ones))


def test_confidence_reaches_the_interval_of_a_gram_matrix():
    g = np.random.default_rng(6).standard_normal((6, 5))
    assert snr.estimate_snr_from_gram(g @ g.T, confidence=0.5).snr_squared_high == pytest.approx(
        snr.estimate_snr(g, confidence=0.5).snr_squared_high
    )


# ---- stages and toy students


def test_confidence_reaches_every_interval_of_a_population():
    narrow, wide = (
        stages.population_outcomes(
            toy_students.random_softmax, np.random.default_rng(0), teachers=3, starts=3, time=1.0, confidence=confidence
        )
        for confidence in (0.5, 0.95)
    )
    ratio = stats.t.ppf(0.975, 2) / stats.t.ppf(0.75, 2)
    compared = 0
    for one, other in zip(narrow, wide, strict=True):
        for field, interval in vars(one).items():
            if field != "schedule":
                half = interval.high - interval.value
                assert vars(other)[field].high - vars(other)[field].value == pytest.approx(ratio * half)
                compared += half > 0
    assert compared >= 20


def test_stuck_is_judged_by_the_last_loss_of_the_schedule():
    rng = np.random.default_rng(8)
    student = toy_students.random_softmax(rng)
    starts = student.draw_starts(6, rng)
    outcomes = stages.stage_outcomes(student, starts, time=0.4)
    ends = {schedule: stages.run_schedule(student, starts, schedule, time=0.4) for schedule in stages.SCHEDULES}
    varied = 0
    for outcome in outcomes:
        kind = outcome.schedule.rsplit("-", 1)[-1]
        loss = student.forward_kl if kind == "forward" else student.reverse_kl
        least = min(loss(theta).min() for schedule, theta in ends.items() if schedule.endswith(kind))
        stuck = loss(ends[outcome.schedule]) > least + 0.01
        assert outcome.stuck.value == pytest.approx(stuck.mean())
        varied += 0 < stuck.mean() < 1
    assert varied >= 2


def test_the_mode_is_judged_by_the_mean_not_by_the_width():
    low, high = MIXTURE.best_mode_interval()
    assert MIXTURE.on_best_mode(np.array([[high + 1, 0.0], [low - 1, 0.0], [0.0, high + 5]])).tolist() == [False, False, True]


def test_starts_span_all_components():
    starts = MIXTURE.draw_starts(2000, np.random.default_rng(0))
    assert starts[:, 0].min() == pytest.approx(-4.0, abs=0.02) and starts[:, 0].max() == pytest.approx(3.9, abs=0.02)
    assert np.exp(starts[:, 1].min()) == pytest.approx(0.3, abs=0.01) and np.exp(starts[:, 1].max()) == pytest.approx(2.0, abs=0.02)


def test_random_mixtures_follow_the_stated_law():
    students = [toy_students.random_mixture(np.random.default_rng(seed)) for seed in range(400)]
    assert {len(student.means) for student in students} == {2, 3}
    gaps = np.concatenate([np.diff(student.means) for student in students])
    scales = np.concatenate([student.scales for student in students])
    assert stats.kstest(gaps, "uniform", (1.5, 2.5)).pvalue > 1e-3 and stats.kstest(scales, "uniform", (0.3, 0.7)).pvalue > 1e-3
    pairs = [student.weights[0] for student in students if len(student.weights) == 2]
    assert stats.kstest(pairs, "beta", (4, 4)).pvalue > 1e-3 and np.var(pairs) == pytest.approx(1 / 36, rel=0.15)
    assert all(abs(np.dot(student.weights, student.means)) < 1e-9 for student in students)


def test_students_with_two_parameters_fewer_than_modes_are_the_widest_allowed():
    assert toy_students.SoftmaxFamily(np.random.default_rng(0).standard_normal((5, 3)), TEACHER).parameters == 3
    with pytest.raises(ValueError, match="features must have fewer than V - 1 = 4 columns, got 4"):
        toy_students.SoftmaxFamily(np.random.default_rng(0).standard_normal((5, 4)), TEACHER)


def test_distant_names_are_still_suggested():
    with pytest.raises(ValueError, match=r"did you mean .*robustness\.saddle"):
        verify.select(ledger(), ["robst.sadle"])
    with pytest.raises(ValueError, match="did you mean"):
        verify.select(ledger(), ["sadle"])
