"""Claims about the two stages: forward KL covers, reverse KL seeks, and what their order brings."""

from collections.abc import Callable

import numpy as np

from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.stages import Interval, mean_interval, population_outcomes, run_schedule
from paced_theory.toy_students import GaussianStudent, Student, random_mixture, random_softmax

section = Section("stages", "Two stages: coverage, then consolidation", "paced_theory/stages.py")

# Two modes far apart; the heavier one, which is the best, is the narrow one or the wide one.
_NARROW_BEST = GaussianStudent((0.6, 0.4), (-2.0, 2.0), (0.4, 1.2))
_WIDE_BEST = GaussianStudent((0.4, 0.6), (-2.0, 2.0), (0.4, 1.2))


def _on_best(student: GaussianStudent, schedule: str, starts: int = 16) -> float:
    """Share of random starts that end on the teacher's best mode."""
    theta = student.draw_starts(starts, np.random.default_rng(3))
    return float(np.mean(student.on_best_mode(run_schedule(student, theta, schedule, time=40.0))))


def _reverse_kl_on_grid(student: GaussianStudent, theta: np.ndarray) -> float:
    """KL(student || teacher) of one (mu, log sigma) by a plain Riemann sum."""
    x = np.linspace(-12, 12, 4001)

    def density(mean: float, scale: float) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi)))

    teacher = np.sum([w * density(m, s) for w, m, s in zip(student.weights, student.means, student.scales, strict=True)], axis=0)
    own = density(float(theta[0]), float(np.exp(theta[1])))
    inside = own > 1e-290
    return float(np.sum(own[inside] * np.log(own[inside] / np.maximum(teacher[inside], 1e-300))) * (x[1] - x[0]))


@section.claim(
    "forward-covers",
    statement="Forward KL covers: from every start a Gaussian student ends at the teacher's mean and variance, between the modes.",
    formula="grad = ((mu - m)/sigma^2, 1 - (v + (mu - m)^2)/sigma^2) = 0 <=> mu = m, sigma^2 = v",
    source="PACED, two stages (standard)",
    assumptions="Gaussian student, any teacher with mean m and variance v",
    route="gradient flow from 16 random starts against moments summed on a grid",
)
def _() -> Evidence:
    import sympy as sp

    mu, m = sp.symbols("mu m", real=True)
    log_sigma = sp.symbols("tau", real=True)
    v = sp.symbols("v", positive=True)
    loss = log_sigma + (v + (m - mu) ** 2) / (2 * sp.exp(2 * log_sigma))
    first = sp.solve(sp.diff(loss, mu), mu)
    second = sp.solve(sp.diff(loss, log_sigma).subs(mu, m), sp.exp(2 * log_sigma))
    x = np.linspace(-15, 15, 60_001)
    parts = zip(_NARROW_BEST.weights, _NARROW_BEST.means, _NARROW_BEST.scales, strict=True)
    density = np.sum([w * np.exp(-0.5 * ((x - mean) / s) ** 2) / s for w, mean, s in parts], axis=0)
    density = density / density.sum()
    mean = float(density @ x)
    variance = float(density @ (x - mean) ** 2)
    final = run_schedule(_NARROW_BEST, _NARROW_BEST.draw_starts(16, np.random.default_rng(3)), "forward", time=120.0)
    return Evidence(
        Comparison(float(np.abs(final[:, 0] - mean).max()), 0.0, 1e-3, what="largest distance from the mean"),
        (
            Comparison(
                float(np.abs(np.exp(2 * final[:, 1]) / variance - 1).max()), 0.0, 1e-2, what="largest relative error of the variance"
            ),
        ),
        Derivation("the only stationary point", first == [m] and second == [v]),
    )


@section.claim(
    "reverse-seeks",
    statement="Reverse KL seeks: it has a local minimum at each of two separated modes, and the start decides which one is reached.",
    formula="KL(S || T) has minima near each mode",
    source="PACED, two stages (standard)",
    assumptions="Gaussian student, two modes several standard deviations apart",
    route="quasi-Newton minimisation of a Riemann sum from each mode against the gradient flow's end points",
)
def _() -> Evidence:
    from scipy.optimize import minimize

    starts = np.array([[-2.0, 0.0], [2.0, 0.0]])
    found = np.array([minimize(lambda t: _reverse_kl_on_grid(_NARROW_BEST, t), start, method="BFGS").x for start in starts])
    flow = run_schedule(_NARROW_BEST, starts, "reverse", time=60.0)
    share = _on_best(_NARROW_BEST, "reverse")
    return Evidence(
        Comparison(float(np.abs(flow - found).max()), 0.0, 5e-3, what="largest difference between the two routes"),
        (
            Comparison(float(found[1, 0] - found[0, 0]), 3.0, 0.0, ">=", what="distance between the two minima"),
            Comparison(share, 0.05, 0.0, ">=", what="share of random starts on the best mode"),
            Comparison(share, 0.95, 0.0, "<=", what="the same share"),
        ),
    )


@section.claim(
    "forward-forgets",
    statement="Consolidation before coverage is wasted: reverse then forward KL ends where forward KL alone does.",
    formula="reverse-forward = forward",
    source="PACED, two stages (order); equality ours",
    assumptions="Gaussian student; each stage runs to convergence",
    route="both schedules from the same 16 starts; attacked with short stages",
)
def _() -> Evidence:
    starts = _NARROW_BEST.draw_starts(16, np.random.default_rng(3))

    def gap(time: float) -> float:
        ends = [_NARROW_BEST.best_mode_mass(run_schedule(_NARROW_BEST, starts, s, time=time)) for s in ("forward", "reverse-forward")]
        return float(np.abs(ends[0] - ends[1]).max())

    short = gap(2.0)
    return Evidence(
        Comparison(gap(80.0), 0.0, 5e-3, what="largest difference in mass"),
        attacks=(
            Attack(
                "a fortieth of the time",
                short < 0.02,
                f"the masses then differ by up to {short:.2f}: a short second stage keeps part of the first one's choice",
                drops="each stage runs to convergence",
            ),
        ),
    )


@section.claim(
    "coverage-unites",
    statement="Coverage before consolidation removes the dependence on the start: one end point where reverse KL alone has two.",
    formula="spread(forward-reverse) = 0 < spread(reverse)",
    source="PACED, two stages",
    assumptions="the forward stage converges",
    route="standard deviation over 16 starts of the mass on the best mode",
)
def _() -> Evidence:
    starts = _NARROW_BEST.draw_starts(16, np.random.default_rng(3))
    spread = {
        schedule: float(np.std(_NARROW_BEST.best_mode_mass(run_schedule(_NARROW_BEST, starts, schedule, time=80.0))))
        for schedule in ("reverse", "forward-reverse")
    }
    return Evidence(
        Comparison(spread["forward-reverse"], 0.0, 1e-2, what="spread, forward then reverse"),
        (Comparison(spread["reverse"], 0.3, 0.0, ">=", what="spread, reverse only"),),
    )


@section.claim(
    "best-mode",
    statement="Coverage, then consolidation, ends on the teacher's best mode more often than reverse KL alone.",
    formula="P(best | forward-reverse) > P(best | reverse)",
    source="PACED, two stages (reading of the result)",
    assumptions="one mode is best; random starts",
    route="gradient flows from 16 starts where the best mode is the wide one; attacked with a narrow best mode and random teachers",
    recorded="conditional",
)
def _() -> Evidence:
    narrow = _on_best(_NARROW_BEST, "forward-reverse"), _on_best(_NARROW_BEST, "reverse")
    rows = population_outcomes(random_mixture, np.random.default_rng(1), teachers=8, starts=4, time=30.0)
    mixtures = next(row for row in rows if row.schedule == "forward-reverse").on_best_over_reverse
    return Evidence(
        Comparison(_on_best(_WIDE_BEST, "forward-reverse") - _on_best(_WIDE_BEST, "reverse"), 0.1, 0.0, ">=", what="gain, wide best mode"),
        attacks=(
            Attack(
                f"the best mode is narrow: {narrow[0]:.2f} of the starts reach it, against {narrow[1]:.2f} with reverse KL alone",
                narrow[0] >= narrow[1],
                "the best mode lies where forward KL's moment match falls, which favours wide modes; being best does not help",
            ),
            Attack(
                f"8 random mixtures: mean gain {mixtures.value:+.2f}, 95 % interval [{mixtures.low:+.2f}, {mixtures.high:+.2f}]",
                mixtures.low > 0,
                "no gain is visible on average over random teachers",
            ),
        ),
    )


@section.claim(
    "consolidation-sharpens",
    statement="A reverse stage after coverage raises the mass on the teacher's best mode over forward KL alone.",
    formula="E[mass(forward-reverse) - mass(forward)] > 0",
    source="PACED, two stages (reading of the result)",
    assumptions="softmax student with 3 parameters for 12 categories, random teachers",
    route="paired differences over 80 random teachers, lower end of the 95 % interval; attacked with a narrow best mode",
    recorded="conditional",
)
def _() -> Evidence:
    gain = _sharpening(random_softmax, 80)
    start = np.zeros((1, 2))
    masses = [
        float(_NARROW_BEST.best_mode_mass(run_schedule(_NARROW_BEST, start, s, time=80.0))[0]) for s in ("forward", "forward-reverse")
    ]
    return Evidence(
        Comparison(gain.low, 0.0, 0.0, ">=", what="lower end of the interval"),
        attacks=(
            Attack(
                f"a Gaussian mixture whose best mode is narrow: the reverse stage changes its mass from {masses[0]:.2f} to {masses[1]:.2f}",
                masses[1] >= masses[0],
                "an average over teachers: a narrow best mode loses what mass coverage gave it",
            ),
        ),
    )


def _sharpening(draw: Callable[[np.random.Generator], Student], teachers: int) -> Interval:
    """What the reverse stage adds to the mass on the best mode, over random teachers with one start each (coverage forgets the start)."""
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(teachers):
        student = draw(rng)
        start = student.draw_starts(1, rng)
        ends = [run_schedule(student, start, schedule, time=30.0) for schedule in ("forward", "forward-reverse")]
        gains.append(float(student.best_mode_mass(ends[1])[0] - student.best_mode_mass(ends[0])[0]))
    return mean_interval(gains)
