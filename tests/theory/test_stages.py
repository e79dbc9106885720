"""Toy students and two-stage flows: gradients against finite differences and quadrature, end states against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from paced_theory.stages import SCHEDULES, mean_interval, population_outcomes, run_schedule, stage_outcomes
from paced_theory.toy_students import GaussianStudent, SoftmaxFamily, random_mixture, random_softmax

COMMON = settings(deadline=None, max_examples=20, derandomize=True)
seeds = st.integers(0, 10_000)

# Two modes with the same reverse-KL basin structure seen from both sides; the narrow one is the best (heaviest).
NARROW_BEST = GaussianStudent((0.55, 0.45), (-2.0, 2.0), (0.3, 0.9))
WIDE_BEST = GaussianStudent((0.45, 0.55), (-2.0, 2.0), (0.3, 0.9))


def numeric_gradient(function, theta, h=1e-5):
    columns = [(function(theta + h * e) - function(theta - h * e)) / (2 * h) for e in np.eye(theta.shape[1])]
    return np.stack(columns, axis=1)


def mixture_density(student, x):
    return sum(w * stats.norm.pdf(x, m, s) for w, m, s in zip(student.weights, student.means, student.scales, strict=True))


# --- losses and gradients -------------------------------------------------------------------------------------------------------------


@COMMON
@given(seed=seeds, draw=st.sampled_from([random_mixture, random_softmax]))
def test_gradients_equal_finite_differences_of_the_losses(seed, draw):
    rng = np.random.default_rng(seed)
    student = draw(rng)
    theta = student.draw_starts(4, rng)
    for loss, gradient in ((student.forward_kl, student.forward_gradient), (student.reverse_kl, student.reverse_gradient)):
        exact = gradient(theta)
        assert exact.shape == theta.shape
        scale = 1 + np.abs(exact).max()
        assert exact == pytest.approx(numeric_gradient(loss, theta), abs=2e-6 * scale)


@pytest.mark.parametrize("theta", [(-1.0, 0.8), (1.5, 0.5), (0.0, 1.4)])
def test_gaussian_divergences_equal_integrals(theta):
    mu, sigma = theta
    parameters = np.array([[mu, math.log(sigma)]])
    ends = {"epsabs": 1e-10, "limit": 500, "points": [-2.0, 2.0, mu]}

    def log_ratio(x):
        return math.log(mixture_density(NARROW_BEST, x)) - stats.norm.logpdf(x, mu, sigma)

    forward = integrate.quad(lambda x: mixture_density(NARROW_BEST, x) * log_ratio(x), -9, 9, **ends)[0]
    reverse = integrate.quad(lambda x: -stats.norm.pdf(x, mu, sigma) * log_ratio(x), -9, 9, **ends)[0]
    assert NARROW_BEST.forward_kl(parameters)[0] == pytest.approx(forward, abs=1e-6)
    assert NARROW_BEST.reverse_kl(parameters)[0] == pytest.approx(reverse, abs=1e-5)


@COMMON
@given(seed=seeds)
def test_reverse_gradient_is_exact_enough_across_the_bend_between_modes(seed):
    """Too coarse a quadrature invents stationary points there; 6,001 nodes over +-9 sigma are the oracle."""
    rng = np.random.default_rng(seed)
    student = random_mixture(rng)
    theta = student.draw_starts(4, rng)
    z = np.linspace(-9, 9, 6001)
    density = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    for (mu, log_sigma), gradient, divergence in zip(theta, student.reverse_gradient(theta), student.reverse_kl(theta), strict=True):
        x = mu + math.exp(log_sigma) * z
        # In logarithms: nine sigma out, a narrow teacher's density underflows.
        components = list(zip(student.weights, student.means, student.scales, strict=True))
        log_parts = np.array([math.log(w) + stats.norm.logpdf(x, m, s) for w, m, s in components])
        log_teacher = special.logsumexp(log_parts, axis=0)
        pulls = np.array([-(x - m) / s**2 for _, m, s in components])
        slope = (np.exp(log_parts - log_teacher) * pulls).sum(axis=0)
        exact = np.array([-density @ slope, -1 - density @ (slope * (x - mu))])
        assert gradient == pytest.approx(exact, abs=3e-3 * (1 + np.abs(exact).max()))
        assert divergence == pytest.approx(-0.5 * math.log(2 * math.pi * math.e) - log_sigma - density @ log_teacher, abs=3e-4)


@COMMON
@given(seed=seeds)
def test_softmax_divergences_equal_scipy_entropy(seed):
    rng = np.random.default_rng(seed)
    student = random_softmax(rng, categories=7, parameters=2)
    theta = student.draw_starts(3, rng)
    for row, forward, reverse, mass, hit in zip(
        theta, student.forward_kl(theta), student.reverse_kl(theta), student.best_mode_mass(theta), student.on_best_mode(theta), strict=True
    ):
        weights = np.exp(student.features @ row)
        probabilities = weights / weights.sum()
        best = int(np.argmax(student.teacher))
        assert forward == pytest.approx(stats.entropy(student.teacher, probabilities), abs=1e-10)
        assert reverse == pytest.approx(stats.entropy(probabilities, student.teacher), abs=1e-10)
        assert mass == pytest.approx(probabilities[best])
        assert hit == (int(np.argmax(probabilities)) == best)


def test_a_single_gaussian_teacher_has_the_textbook_divergences():
    student = GaussianStudent((1.0,), (0.5,), (0.8,))
    theta = np.array([[1.0, math.log(1.2)]])
    forward = math.log(1.2 / 0.8) + (0.8**2 + 0.5**2) / (2 * 1.2**2) - 0.5
    reverse = math.log(0.8 / 1.2) + (1.2**2 + 0.5**2) / (2 * 0.8**2) - 0.5
    assert student.forward_kl(theta)[0] == pytest.approx(forward)
    assert student.reverse_kl(theta)[0] == pytest.approx(reverse)
    assert student.best_mode_interval() == (-math.inf, math.inf)
    assert student.best_mode_mass(theta)[0] == 1


def test_best_mode_interval_ends_at_the_lowest_density():
    student = GaussianStudent((0.25, 0.5, 0.25), (-3.0, 0.0, 2.5), (0.5, 0.5, 0.7))
    for end, bounds in zip(student.best_mode_interval(), ((-3, 0), (0, 2.5)), strict=True):
        lowest = optimize.minimize_scalar(lambda x: mixture_density(student, x), bounds=bounds, method="bounded")
        assert end == pytest.approx(lowest.x, abs=2e-3)
    low, high = student.best_mode_interval()
    theta = np.array([[0.2, math.log(0.7)], [-2.0, math.log(0.7)]])
    expected = stats.norm.cdf(high, theta[:, 0], 0.7) - stats.norm.cdf(low, theta[:, 0], 0.7)
    assert student.best_mode_mass(theta) == pytest.approx(expected)
    assert student.on_best_mode(theta).tolist() == [True, False]


# --- flows ----------------------------------------------------------------------------------------------------------------------------


def test_forward_flow_ends_at_the_teachers_moments_from_every_start():
    starts = NARROW_BEST.draw_starts(8, np.random.default_rng(0))
    final = run_schedule(NARROW_BEST, starts, "forward")
    mean = 0.55 * -2 + 0.45 * 2
    variance = 0.55 * (0.3**2 + 4) + 0.45 * (0.9**2 + 4) - mean**2
    assert NARROW_BEST.moments() == pytest.approx((mean, variance))
    assert final[:, 0] == pytest.approx(mean, abs=1e-3)
    assert np.exp(2 * final[:, 1]) == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize("ending", ["forward", "reverse"])
def test_softmax_flows_end_no_higher_than_scipy_from_the_same_start(ending):
    student = random_softmax(np.random.default_rng(5))
    starts = student.draw_starts(4, np.random.default_rng(1))
    loss = student.forward_kl if ending == "forward" else student.reverse_kl
    gradient = student.forward_gradient if ending == "forward" else student.reverse_gradient
    final = run_schedule(student, starts, ending, time=2000.0)
    assert np.abs(gradient(final)).max() < 1e-3
    for row in final:
        local = optimize.minimize(lambda t: loss(t[None])[0], row, jac=lambda t: gradient(t[None])[0], method="BFGS")
        assert loss(row[None])[0] == pytest.approx(local.fun, abs=1e-3)


def test_flow_decreases_its_loss_and_two_stages_compose():
    starts = WIDE_BEST.draw_starts(6, np.random.default_rng(2))
    reverse = [WIDE_BEST.reverse_kl(run_schedule(WIDE_BEST, starts, "reverse", time=t)) for t in (0.1, 1.0, 10.0)]
    before = WIDE_BEST.reverse_kl(starts)
    for after in reverse:
        assert (after <= before + 1e-6).all()
        before = after
    half = run_schedule(WIDE_BEST, starts, "forward", time=5.0)
    composed = run_schedule(WIDE_BEST, half, "reverse", time=5.0)
    assert run_schedule(WIDE_BEST, starts, "forward-reverse", time=10.0) == pytest.approx(composed, abs=1e-9)


def test_starts_do_not_influence_each_other():
    starts = WIDE_BEST.draw_starts(5, np.random.default_rng(3))
    together = run_schedule(WIDE_BEST, starts, "reverse")
    alone = np.concatenate([run_schedule(WIDE_BEST, starts[i : i + 1], "reverse") for i in range(5)])
    assert together == pytest.approx(alone, abs=1e-3)


# --- what the schedules reach ---------------------------------------------------------------------------------------------------------


def outcomes_by_schedule(student, starts=24, seed=0):
    rows = stage_outcomes(student, student.draw_starts(starts, np.random.default_rng(seed)))
    assert [row.schedule for row in rows] == list(SCHEDULES)
    return {row.schedule: row for row in rows}


def test_reverse_kl_splits_its_starts_and_a_forward_stage_unites_them():
    rows = outcomes_by_schedule(NARROW_BEST)
    assert rows["forward"].spread < 1e-3 and rows["forward"].stuck.value == 0
    assert rows["reverse"].spread > 0.3
    assert 0.1 < rows["reverse"].on_best.value < 0.9
    assert rows["forward-reverse"].spread < 1e-3
    assert rows["reverse-forward"].mass == pytest.approx(rows["forward"].mass, abs=0.02)


def test_where_forward_then_reverse_ends_is_decided_by_the_teacher_not_by_which_mode_is_best():
    """The counter-example to coverage, then consolidation: it lands on the wide mode whether or not that is the best one."""
    narrow, wide = (outcomes_by_schedule(teacher)["forward-reverse"] for teacher in (NARROW_BEST, WIDE_BEST))
    assert narrow.on_best.value == 0 and narrow.mean_mass.high < 0.2
    assert narrow.stuck.value == 1  # a worse local minimum of reverse KL, from every start
    assert wide.on_best.value == 1 and wide.mean_mass.low > 0.8
    assert outcomes_by_schedule(NARROW_BEST)["reverse"].on_best.low > narrow.on_best.value


def test_consolidation_raises_the_best_modes_mass_over_random_softmax_teachers():
    rows = {row.schedule: row for row in population_outcomes(random_softmax, np.random.default_rng(1), teachers=40, starts=6)}
    assert rows["forward-reverse"].mass_over_forward.low > 0
    assert rows["reverse"].spread.low > rows["forward-reverse"].spread.high
    gain = rows["forward-reverse"].on_best_over_reverse
    assert gain.low <= 0.05 and abs(gain.value) < 0.1  # no gain worth the name over reverse KL alone
    assert rows["forward"].on_best_over_forward.value == 0 == rows["reverse"].mass_over_reverse.value


def test_population_intervals_are_over_teachers():
    generator = np.random.default_rng(4)
    rows = population_outcomes(random_softmax, generator, teachers=5, starts=3, time=10.0)
    generator = np.random.default_rng(4)
    masses = []
    for _ in range(5):
        student = random_softmax(generator)
        starts = student.draw_starts(3, generator)
        masses.append(student.best_mode_mass(run_schedule(student, starts, "reverse", time=10.0)).mean())
    reverse = rows[SCHEDULES.index("reverse")].mean_mass
    assert reverse.value == pytest.approx(np.mean(masses))
    expected = stats.t.interval(0.95, 4, np.mean(masses), stats.sem(masses))
    assert (reverse.low, reverse.high) == pytest.approx(expected)


def test_paired_differences_are_differences_of_the_averages():
    rows = {row.schedule: row for row in population_outcomes(random_softmax, np.random.default_rng(2), teachers=6, starts=3, time=20.0)}
    for row in rows.values():
        for field, name in (("on_best", "on_best"), ("mean_mass", "mass"), ("stuck", "stuck")):
            for rival in ("forward", "reverse"):
                if hasattr(row, f"{name}_over_{rival}"):
                    difference = getattr(row, field).value - getattr(rows[rival], field).value
                    assert getattr(row, f"{name}_over_{rival}").value == pytest.approx(difference, abs=1e-12)
    assert rows["reverse"].stuck_over_reverse.value == 0 and rows["reverse"].mass_over_forward.value != 0


def test_outcome_shares_and_intervals_follow_their_definitions():
    student = NARROW_BEST
    starts = student.draw_starts(10, np.random.default_rng(6))
    rows = {row.schedule: row for row in stage_outcomes(student, starts, confidence=0.9)}
    final = {schedule: run_schedule(student, starts, schedule) for schedule in SCHEDULES}
    row, theta = rows["reverse"], final["reverse"]
    assert row.mass == pytest.approx(student.best_mode_mass(theta))
    assert row.spread == pytest.approx(row.mass.std())
    hits = student.on_best_mode(theta)
    wilson = stats.binomtest(int(hits.sum()), 10).proportion_ci(0.9, method="wilson")
    assert (row.on_best.value, row.on_best.low, row.on_best.high) == pytest.approx((hits.mean(), wilson.low, wilson.high))
    least = min(student.reverse_kl(final[name]).min() for name in ("reverse", "forward-reverse"))
    assert row.stuck.value == pytest.approx(np.mean(student.reverse_kl(theta) > least + 0.01))
    interval = stats.t.interval(0.9, 9, row.mass.mean(), stats.sem(row.mass))
    assert (row.mean_mass.value, row.mean_mass.low, row.mean_mass.high) == pytest.approx((row.mass.mean(), *interval))


def test_mean_interval_covers_at_its_nominal_rate():
    rng, trials = np.random.default_rng(0), 1000
    intervals = [mean_interval(rng.normal(2.0, 3.0, 6)) for _ in range(trials)]
    hits = sum(i.low <= 2.0 <= i.high for i in intervals)
    assert stats.binomtest(hits, trials, 0.95).pvalue > 0.01


# --- random draws, reproducibility and bad input --------------------------------------------------------------------------------------


@COMMON
@given(seed=seeds)
def test_random_teachers_and_starts_are_as_described(seed):
    rng = np.random.default_rng(seed)
    mixture, family = random_mixture(rng), random_softmax(rng)
    assert len(mixture.weights) in (2, 3) and sum(mixture.weights) == pytest.approx(1)
    assert np.dot(mixture.weights, mixture.means) == pytest.approx(0, abs=1e-12)
    gaps = np.diff(mixture.means)
    assert (gaps >= 1.5).all() and (gaps <= 4).all()
    assert all(0.3 <= s <= 1 for s in mixture.scales)
    assert family.features.shape == (12, 3) and family.teacher.sum() == pytest.approx(1)
    starts = mixture.draw_starts(50, rng)
    assert starts.shape == (50, mixture.parameters)
    assert (
        starts[:, 0].min() >= mixture.means[0] - 2 * mixture.scales[0] and starts[:, 0].max() <= mixture.means[-1] + 2 * mixture.scales[-1]
    )
    assert np.exp(starts[:, 1]).min() >= 0.3 and np.exp(starts[:, 1]).max() <= 2
    assert family.draw_starts(400, rng).std() == pytest.approx(1.5, rel=0.15)


def test_gaussian_starts_fill_their_range_evenly():
    starts = NARROW_BEST.draw_starts(4000, np.random.default_rng(0))
    for column, low, high in ((0, -2.6, 3.8), (1, math.log(0.3), math.log(2.0))):
        assert stats.kstest(starts[:, column], stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_the_same_seed_gives_the_same_study():
    first, second = (population_outcomes(random_softmax, np.random.default_rng(9), teachers=3, starts=2, time=5.0) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GaussianStudent((0.5, 0.4), (0.0, 1.0), (1.0, 1.0)), "weights must be positive and sum to one, got least 0.4 and sum 0.9"),
        (lambda: GaussianStudent((1.5, -0.5), (0.0, 1.0), (1.0, 1.0)), "weights must be positive"),
        (lambda: GaussianStudent((0.5, 0.5), (1.0, 0.0), (1.0, 1.0)), "means must increase strictly"),
        (lambda: GaussianStudent((0.5, 0.5), (1.0, 1.0), (1.0, 1.0)), "means must increase strictly"),
        (lambda: GaussianStudent((0.5, 0.5), (0.0, 1.0), (1.0, 0.0)), "scales must be positive, got 0"),
        (lambda: GaussianStudent((1.0,), (0.0, 1.0), (1.0,)), "equal lengths, got 1, 2 and 1"),
        (lambda: SoftmaxFamily(np.ones((3, 1)), np.full(4, 0.25)), "features must have one row for each of the 4 categories"),
        (lambda: SoftmaxFamily(np.ones((4, 3)), np.full(4, 0.25)), "features must have fewer than V - 1 = 3 columns, got 3"),
        (lambda: SoftmaxFamily(np.ones((4, 1)), np.array([0.5, 0.5, 0.0, 0.0])), "teacher must be positive and sum to one, got least 0"),
        (lambda: SoftmaxFamily(np.ones((4, 1)), np.full(4, 0.3)), "teacher must be positive and sum to one.*sum 1.2"),
        (lambda: run_schedule(WIDE_BEST, np.zeros((2, 3)), "forward"), r"starts must have shape \(S, 2\)"),
        (lambda: run_schedule(WIDE_BEST, np.zeros((2, 2)), "backward"), "schedule must be one of 'forward'"),
        (lambda: run_schedule(WIDE_BEST, np.zeros((2, 2)), "forward", time=0), "time must be a finite number > 0"),
        (lambda: run_schedule(WIDE_BEST, np.full((2, 2), math.nan), "forward"), "starts"),
        (lambda: stage_outcomes(WIDE_BEST, np.zeros((1, 2))), "starts must have at least 4 entries"),
        (lambda: stage_outcomes(WIDE_BEST, np.zeros((2, 2)), confidence=1), "confidence"),
        (lambda: population_outcomes(random_mixture, np.random.default_rng(0), teachers=1), "teachers must be an integer >= 2"),
        (lambda: population_outcomes(random_mixture, np.random.default_rng(0), starts=1), "starts must be an integer >= 2"),
        (lambda: random_softmax(np.random.default_rng(0), categories=2), "categories must be an integer >= 3"),
        (lambda: random_softmax(np.random.default_rng(0), parameters=0), "parameters must be an integer >= 1"),
        (lambda: mean_interval([1.0]), "sample must have at least 2 entries"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
