"""The edge of what is allowed: least sizes, values just inside, nearly degenerate samples, and the exact kind of what comes back."""

import math

import numpy as np
import pytest
from scipy import integrate

from paced_theory import _checks, collapse, connections, convergence, estimation, kernels, representation, snr, stages, toy_students, verify
from paced_theory.bootstrap import bootstrap_snr, resampled_nu
from paced_theory.claims.ledger import Claim, Comparison, Evidence

P = np.array([0.2, 0.4, 0.6, 0.8])
MIXTURE = toy_students.GaussianStudent((0.4, 0.6), (-1.0, 1.0), (0.5, 0.7))
ESTIMATE = snr.estimate_snr(np.random.default_rng(0).standard_normal((5, 2)))


# ---- what is just allowed and what is just not


def test_a_prior_is_a_tuple_a_list_or_an_array():
    for prior in ((1, 2), [1, 2], np.array([1, 2])):
        assert _checks.check_prior(prior) == (1.0, 2.0)
    with pytest.raises(ValueError, match=r"^prior must be a pair \(a, b\) .*, got range\(1, 3\)$"):
        _checks.check_prior(range(1, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimation.expected_weight([[0.1, 0.2]], 0.5), "weights_by_k must be a 1-dimensional array"),
        (lambda: snr.combine([ESTIMATE], [[1.0]]), "weights must be a 1-dimensional array"),
        (lambda: convergence.quadratic_mean_squared_gradient([1.0], [[1.0]], 1.0, 0.5, 3), "theta0 must be a 1-dimensional array"),
        (lambda: snr.estimate_snr_from_sums([1.0, 2.0, 3.0], [1.0, math.nan, 1.0]), "projections must be an array of finite"),
        (lambda: snr.effective_rank(np.eye(3, dtype=complex)), "gram must be a square matrix of real numbers"),
        (lambda: snr.estimate_snr(np.zeros((4, 2))), "the gradients do not differ beyond rounding"),
        (lambda: representation.fit_leading_order_linear(P, np.zeros(4), np.full(4, 0.1)), "snr_squared shows no positive signal"),
        (lambda: representation.fit_leading_order(P, P, [0.1, 0.1, 0.1, 1e60]), "standard_error must be of a size between"),
        (lambda: convergence.quadratic([0.0, 1.0]), "curvatures must"),
        (lambda: representation.fit_leading_order(P, P, P).snr_squared(1.5), "pass_rate must be pass rates"),
        (lambda: representation.fit_leading_order_batch([0.0, 0.1, 0.2, 0.3], [P], P), "pass_rate must lie strictly inside"),
        (lambda: kernels.GaussianBump(sigma=1e6 + 0.5), "sigma must"),
        (lambda: collapse.forward_kl([[0.0, 1.0]] * 2, [[0.5, 0.5]] * 3), r"student_logits and teacher .*, got \(2, 2\) and \(3, 2\)$"),
    ],
)
def test_an_array_of_the_wrong_rank_or_content_is_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize("teacher", [[0.5, 0.6], [-0.5, 1.5], [0.5, 0.4]])
def test_a_teacher_that_is_no_distribution_is_refused(teacher):
    with pytest.raises(ValueError, match=r"^teacher must hold probabilities that sum to one"):
        collapse.forward_kl([0.0, 1.0], teacher)


@pytest.mark.parametrize("logits", [0.0, [0.0]])
def test_one_logit_is_no_distribution(logits):
    with pytest.raises(ValueError, match=r"^student_logits must have at least 2 entries along its last axis"):
        collapse.forward_kl(logits, [1.0])


def test_a_component_without_weight_is_refused_and_close_means_are_not():
    with pytest.raises(ValueError, match=r"^weights must be positive and sum to one, got least 0 and sum 1"):
        toy_students.GaussianStudent((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    assert toy_students.GaussianStudent((0.5, 0.5), (0.0, 0.1), (1.0, 1.0)).moments()[0] == pytest.approx(0.05)


def test_the_least_sizes_are_allowed():
    for found in representation.boundary_exponents(lambda x: x * (1 - x), depth=8):
        assert found.exponent == pytest.approx(1.0, abs=1e-3)
    fit = representation.fit_leading_order(P, 3 * P**1.5 * (1 - P), np.full(4, 0.1))
    assert (fit.log_c, fit.a, fit.b) == pytest.approx((math.log(3), 1.5, 1.0))


def test_points_without_a_logarithm():
    with pytest.raises(ValueError, match=r"^distance and values must be positive for a log-log slope"):
        representation.log_log_slope([0.0, 0.1, 0.2], [1.0, 1.0, 1.0])
    fit = representation.fit_leading_order_linear(P, [0.0, 0.3, 0.3, 0.1], np.full(4, 0.1))
    assert fit.oscillation == math.inf and fit.guaranteed_efficiency == 0.0


def test_exponents_stay_in_their_box():
    """Data steeper than p^-1: the best a in [-1, 10] is its lower end exactly, not beyond."""
    p = np.linspace(0.05, 0.95, 8)
    for values, name in ((p**-2.5, "a"), ((1 - p) ** -2.5, "b")):
        fit = representation.fit_leading_order_linear(p, values, 0.01 * values)
        assert getattr(fit, name) == -1.0 and fit.at_bound == (name,)


# ---- nearly degenerate samples


def test_gradients_that_differ_a_little_have_a_rank_and_resamples():
    """Noise of 1e-12 of the mean's square is above rounding: resamples of it are not drawn again for ever."""
    g = 1.0 + 1e-6 * np.random.default_rng(0).standard_normal((20, 3))
    assert 1.0 <= snr.effective_rank(g @ g.T) < 400
    nu, _ = resampled_nu(g @ g.T, replicates=20, rng=np.random.default_rng(1))
    drawn = np.random.default_rng(1).multinomial(20, np.full(20, 1 / 20), size=20)
    samples = [np.repeat(g, row, axis=0) for row in drawn]
    exact = [np.linalg.norm(s.mean(axis=0)) / math.sqrt(s.var(axis=0, ddof=1).sum()) for s in samples]
    assert nu == pytest.approx(exact, rel=0.02)


def test_three_gradients_that_differ_a_little_at_any_scale():
    """Their variance of 3.6e-13 of the mean's square is above rounding, whichever signs are flipped."""
    for scale in (1.0, 1e-3):
        g = scale * np.array([[1 - 6e-7], [1.0], [1 + 6e-7]])
        assert np.isfinite(snr.sign_flip_null(g @ g.T, replicates=50, rng=np.random.default_rng(0))).all()
    wide = 1.0 + 1e-6 * np.random.default_rng(0).standard_normal((20, 3))
    assert snr.estimate_snr(wide).snr_squared > 1e11
    small = snr.estimate_snr(0.01 * np.array([[1.0], [2.0], [3.0]]))
    assert 0 < small.signal_squared < 1 and not small.clipped


def test_a_gram_matrix_in_single_precision_is_resampled_in_double():
    g = np.random.default_rng(4).standard_normal((9, 5)) + 2.0
    gram = (g @ g.T).astype(np.float32)
    (nu, centre), (exact, exact_centre) = (resampled_nu(m, replicates=5, rng=np.random.default_rng(0)) for m in (gram, gram.astype(float)))
    assert nu.tolist() == exact.tolist() and centre == exact_centre


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_softmax_gradients_at_the_ends(p):
    """No token without mass may cause a warning; where the student is the teacher there is no gradient left."""
    found = collapse.SoftmaxStudent(style_tokens=0).gradients(p, 5, np.random.default_rng(0))
    assert np.isfinite(found).all() and (np.abs(found).max() < 1e-12) == (p == 1.0)


def test_an_adversary_without_bounds_leaves_the_best_single_problem():
    """delta = 800: e^(-2 delta) is 0 in doubles, so w* sits on the pass rates where optimum/kernel is largest."""
    p = (np.arange(5) + 0.5) / 5
    best = p * (1 - p)
    order = np.argsort(-best)
    expected = min(best[order[:k]].sum() ** 2 / (best[order[:k]] ** 2).sum() for k in range(1, 6)) / 5
    assert connections.worst_case_against(kernels.Uniform(), kernels.BetaKernel(), 800.0, points=5) == pytest.approx(expected)


def test_break_even_of_a_one_sided_kernel():
    assert convergence.variance_ratio(convergence.breakeven_signal_exponent(1.0, 0.5), 1.0, 0.5) == pytest.approx(1.0, abs=1e-9)
    with pytest.raises(ValueError, match="have no break-even"):
        convergence.breakeven_signal_exponent(0.0, 0.0)


# ---- what comes back


def test_a_number_of_problems_is_an_integer():
    for snr_squared in (3.0, 0.3, 0.01):
        assert type(snr.problems_needed(snr_squared, effective_rank=20.0)) is int


@pytest.mark.parametrize("schedule", ["forward", "reverse"])
def test_the_flow_is_followed_on_its_way_too(schedule):
    """Half-way through, another solver with five more digits is the oracle."""
    start = np.array([[1.5, -0.3], [-2.0, 0.4]])
    gradient = MIXTURE.forward_gradient if schedule == "forward" else MIXTURE.reverse_gradient
    final = stages.run_schedule(MIXTURE, start, schedule, time=0.7)
    for row, end in zip(start, final, strict=True):
        exact = integrate.solve_ivp(lambda _, y: -gradient(y[None])[0], (0.0, 0.7), row, method="DOP853", rtol=1e-11, atol=1e-12)
        assert end == pytest.approx(exact.y[:, -1], abs=2e-5)


def test_json_never_holds_what_json_does_not_know(monkeypatch):
    claim = Claim("kernels.x", "s", "f", "ours", "none", "by hand", "file.py", "holds", lambda: Evidence(Comparison(1.0, 1.0, math.inf)))
    monkeypatch.setattr(verify, "ledger", lambda: [claim])
    with pytest.raises(ValueError, match="not JSON compliant"):
        verify.main(["--json"])


def test_headings_and_formulas_of_the_page_stand_between_empty_lines(capsys):
    verify.main(["--markdown", "--only", "convergence.paper-figures"])
    lines = ["", *capsys.readouterr().out.splitlines(), ""]
    blocks = [i for i, line in enumerate(lines) if line.startswith(("#", "    "))]
    assert len(blocks) >= 5
    for i in blocks:
        assert lines[i - 1] == lines[i + 1] == "", lines[i]
    for i, line in enumerate(lines):
        if line.startswith("|") and not lines[i - 1].startswith("|"):
            assert lines[i - 1] == "", line


def test_a_scaled_kernel_without_mass_has_the_integral_zero():
    assert kernels.HardFilter(0.5, 0.6).normalised("peak").integral((1.0, 5000.0)) == 0.0


def test_bootstrap_ends_of_the_root_are_the_roots_of_the_ends():
    g = 2.0 + np.random.default_rng(0).standard_normal((12, 2))
    found = bootstrap_snr(g, replicates=50, rng=np.random.default_rng(1))
    assert found.snr_squared_low > 0.1
    assert (found.snr_low, found.snr_high) == pytest.approx((found.snr_squared_low**0.5, found.snr_squared_high**0.5))


def test_stuck_after_a_forward_stage_is_judged_by_forward_kl():
    """At times when the reverse KL would judge otherwise."""
    rng = np.random.default_rng(3)
    student = toy_students.random_softmax(rng)
    starts, differ = student.draw_starts(8, rng), 0
    for time in (1.0, 4.0, 10.0, 20.0):
        ends = {schedule: stages.run_schedule(student, starts, schedule, time=time) for schedule in ("forward", "reverse-forward")}
        expected, other = (
            [(loss(theta) > min(loss(end).min() for end in ends.values()) + 0.01).mean() for theta in ends.values()]
            for loss in (student.forward_kl, student.reverse_kl)
        )
        found = {outcome.schedule: outcome.stuck.value for outcome in stages.stage_outcomes(student, starts, time=time)}
        assert [found[schedule] for schedule in ends] == pytest.approx(expected)
        differ += expected != other
    assert differ >= 1


def test_confidence_reaches_the_shares_on_the_best_mode():
    narrow, wide = (
        stages.population_outcomes(
            toy_students.random_softmax, np.random.default_rng(1), teachers=6, starts=4, time=8.0, confidence=confidence
        )
        for confidence in (0.5, 0.95)
    )
    for field in ("on_best_over_forward", "on_best_over_reverse"):
        halves = [[getattr(row, field).high - getattr(row, field).value for row in rows] for rows in (narrow, wide)]
        assert max(halves[0]) > 0
        assert all(b > 2 * a for a, b in zip(*halves, strict=True) if a > 0)
