"""Claims about the minimax robustness of the kernel to a wrong SNR^2."""

import math

import numpy as np

from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.connections import worst_case_against
from paced_theory.kernel import Kernel
from paced_theory.kernels import BernoulliEntropy, BetaKernel, GaussianBump, HardFilter, SqrtVariance, Uniform
from paced_theory.robustness import (
    aggregate_efficiency,
    beta_misspecification_curvature,
    beta_misspecification_loss,
    find_adversary,
    loss_slope,
    pointwise_loss,
    pointwise_loss_bound,
    pointwise_minimax_loss,
    saddle_point,
    worst_case_efficiency,
    worst_case_law,
    worst_case_loss,
)

section = Section("robustness", "Minimax robustness", "paced_theory/robustness.py")


def _worst_two_point(weight: np.ndarray, masses: np.ndarray, delta: float, starts: int = 3) -> float:
    """Least efficiency of weights over laws that mix eps = -delta and +delta at each level, by projected quasi-Newton search."""
    from scipy.optimize import minimize

    low, high = math.exp(-delta), math.exp(delta)

    def log_efficiency(share: np.ndarray) -> tuple[float, np.ndarray]:
        first, second = masses * weight * (low + share * (high - low)), masses * (low**2 + share * (high**2 - low**2))
        value = 2 * math.log(first.sum()) - math.log(second.sum())
        slope = 2 * masses * weight * (high - low) / first.sum() - masses * (high**2 - low**2) / second.sum()
        return value - math.log(masses @ weight**2), slope

    rng = np.random.default_rng(0)
    bounds = [(0.0, 1.0)] * weight.size
    runs = [minimize(log_efficiency, rng.random(weight.size), jac=True, method="L-BFGS-B", bounds=bounds) for _ in range(starts)]
    return math.exp(min(run.fun for run in runs))


@section.claim(
    "worst-case",
    statement="With the log of the true weight wrong by at most delta, the kernel keeps at least sech^2(delta): 91.5 % at delta = 0.3.",
    formula="min E[e^eps]^2 / E[e^(2 eps)] = sech^2(delta), |eps| <= delta; 0.9151369618 at 0.3",
    source="ours (exact constant of PACED's robustness theorem)",
    assumptions="|eps| <= delta; the scale of the weight is free (learning rate)",
    route="a linear programme over all laws on 101 values of eps, which is not told the answer",
)
def _() -> Evidence:
    import sympy as sp

    mean, delta = sp.symbols("m delta", positive=True)
    # (f - e^-delta)(e^delta - f) >= 0 gives E f^2 <= 2 cosh(delta) E f - 1; what remains is a minimum over the mean m = E f.
    bound = mean**2 / (2 * sp.cosh(delta) * mean - 1)
    stationary = sp.solve(sp.numer(sp.together(sp.diff(bound, mean))), mean)
    minimum = sp.simplify(bound.subs(mean, stationary[-1]) - 1 / sp.cosh(delta) ** 2)
    return Evidence(
        Comparison(find_adversary(0.3).efficiency, 1 / math.cosh(0.3) ** 2, 1e-7),
        (Comparison(float(worst_case_efficiency(0.3)), 0.9151369618, 5e-11, what="closed form at delta = 0.3"),),
        Derivation("minimum of m^2/(2 cosh(delta) m - 1) over the mean m (Kantorovich)", minimum == 0),
        (
            Attack(
                "the hard filter [0.4, 0.6] when p(1-p) is optimal: log-ratio unbounded",
                bool(HardFilter(0.4, 0.6).efficiency(BetaKernel()) > worst_case_efficiency(0.3)),
                f"it keeps {HardFilter(0.4, 0.6).efficiency(BetaKernel()):.3f}: no bound on the log-ratio, no guarantee",
                drops="|eps| <= delta",
            ),
        ),
    )


@section.claim(
    "attained",
    statement="The bound is attained by a two-point law: eps = +delta with mass e^-delta/(e^delta + e^-delta), else -delta.",
    formula="E[e^eps]^2 / E[e^(2 eps)] = sech^2(delta)",
    source="ours",
    assumptions="none beyond |eps| <= delta",
    route="the law put into the definition of efficiency, delta = 0.7; numeric minimisation over two-point laws",
)
def _() -> Evidence:
    import sympy as sp
    from scipy.optimize import minimize_scalar

    d = sp.symbols("delta", positive=True)
    q = sp.exp(-d) / (sp.exp(d) + sp.exp(-d))
    kept = (q * sp.exp(d) + (1 - q) * sp.exp(-d)) ** 2 / (q * sp.exp(2 * d) + (1 - q) * sp.exp(-2 * d))
    identity = sp.simplify((kept - 4 / (sp.exp(d) + sp.exp(-d)) ** 2).rewrite(sp.exp)) == 0
    search = minimize_scalar(
        lambda s: aggregate_efficiency([-0.7, 0.7], [1 - s, s]), bounds=(0.01, 0.99), method="bounded", options={"xatol": 1e-10}
    )
    eps, masses = worst_case_law(0.7)
    return Evidence(
        Comparison(aggregate_efficiency(eps, masses), 1 / math.cosh(0.7) ** 2, 1e-12),
        (Comparison(float(search.x), float(masses[np.argmax(eps)]), 1e-6, what="mass at +delta found by search"),),
        Derivation("the efficiency of the law simplifies to sech^2", identity),
    )


@section.claim(
    "loss-expansion",
    statement="The worst-case loss is tanh^2(delta): second order, with constant 1.",
    formula="tanh^2(delta) = delta^2 - 2/3 delta^4 + 17/45 delta^6 - ...",
    source="PACED's robustness theorem (order); constants ours",
    assumptions="|eps| <= delta",
    route="Richardson extrapolation of the linear programme's losses at delta = 0.05 and 0.1",
)
def _() -> Evidence:
    import sympy as sp

    d = sp.symbols("delta")
    series = sp.series(sp.tanh(d) ** 2, d, 0, 8).removeO()
    small, large = ((1 - find_adversary(x).efficiency) / x**2 for x in (0.05, 0.1))
    return Evidence(
        Comparison((4 * small - large) / 3, 1.0, 1e-4, what="constant of delta^2"),
        (Comparison(float(worst_case_loss(0.1)), 0.1**2 - 2 / 3 * 0.1**4 + 17 / 45 * 0.1**6, 1e-8, what="series at 0.1"),),
        Derivation("Taylor series", sp.expand(series - (d**2 - sp.Rational(2, 3) * d**4 + sp.Rational(17, 45) * d**6)) == 0),
    )


@section.claim(
    "slope",
    statement="On log-log axes the worst-case loss has slope 2 as delta vanishes.",
    formula="d log tanh^2(delta) / d log delta = 4 delta / sinh(2 delta) -> 2",
    source="PACED's robustness theorem",
    assumptions="|eps| <= delta",
    route="slope between the linear programme's losses at delta = 0.02 and 0.04",
)
def _() -> Evidence:
    import sympy as sp

    d = sp.symbols("delta", positive=True)
    derivative = d * sp.diff(sp.log(sp.tanh(d) ** 2), d)
    small, large = (1 - find_adversary(x).efficiency for x in (0.02, 0.04))
    return Evidence(
        Comparison(math.log2(large / small), 2.0, 5e-3),
        (Comparison(math.log2(large / small), float(loss_slope(0.02 * math.sqrt(2))), 1e-4, what="slope at the middle by the formula"),),
        derivation=Derivation("limit of the logarithmic derivative", sp.limit(derivative, d, 0) == 2),
    )


@section.claim(
    "pointwise",
    statement="At one pass rate and with a fixed scale the loss is at most (e^delta - 1)^2, attained at eps = -delta.",
    formula="max (1 - e^-eps)^2 = (e^delta - 1)^2 = delta^2 + delta^3 + 7/12 delta^4 + ...",
    source="PACED's robustness theorem; constants ours",
    assumptions="gain 2 w s - w^2 m, |eps| <= delta",
    route="gain computed from its definition on 10,001 values of eps, delta = 0.4",
)
def _() -> Evidence:
    import sympy as sp

    d = sp.symbols("delta")
    series = sp.series((sp.exp(d) - 1) ** 2, d, 0, 5).removeO()
    eps = np.linspace(-0.4, 0.4, 10_001)
    second, best = 1.3, np.exp(eps)  # m = 1.3 and w0 = 1, so that the optimum is w* = e^eps = s/m
    signal = best * second
    loss = 1 - (2 * signal - second) / (2 * best * signal - best**2 * second)
    return Evidence(
        Comparison(float(loss.max()), float(pointwise_loss_bound(0.4)), 1e-12),
        (
            Comparison(float(eps[np.argmax(loss)]), -0.4, 1e-12, what="worst eps"),
            Comparison(float(np.abs(pointwise_loss(eps) - loss).max()), 0.0, 1e-12, what="largest difference from (1 - e^-eps)^2"),
        ),
        Derivation("Taylor series", sp.expand(series - (d**2 + d**3 + sp.Rational(7, 12) * d**4)) == 0),
    )


@section.claim(
    "pointwise-rescaled",
    statement="The cubic term of the pointwise loss is a matter of scale: with sech(delta) w0 the worst case is tanh^2(delta) again.",
    formula="min_c max_eps (1 - c e^-eps)^2 = tanh^2(delta), c = sech(delta)",
    source="ours",
    assumptions="gain 2 w s - w^2 m, |eps| <= delta",
    route="numeric minimax over the scale, delta = 0.4",
)
def _() -> Evidence:
    from scipy.optimize import minimize_scalar

    eps = np.linspace(-0.4, 0.4, 2_001)
    found = minimize_scalar(
        lambda c: float(np.max((1 - c * np.exp(-eps)) ** 2)), bounds=(0.1, 2.0), method="bounded", options={"xatol": 1e-10}
    )
    return Evidence(
        Comparison(float(found.fun), float(pointwise_minimax_loss(0.4)), 1e-8),
        (Comparison(float(found.x), 1 / math.cosh(0.4), 1e-7, what="best scale"),),
    )


@section.claim(
    "saddle",
    statement="No other weight has a better worst case: the kernel is the minimax weight over its neighbourhood.",
    formula="max_w min_eps efficiency(w, eps) = sech^2(delta), at w = w0",
    source="PACED's robustness theorem (minimax); saddle point ours",
    assumptions="problems of equal pass rate may differ in eps, or p has a density",
    route="cutting planes over all weights on 6 levels; a quasi-Newton adversary against 12 random weights",
)
def _() -> Evidence:
    masses = np.array([0.05, 0.2, 0.3, 0.25, 0.15, 0.05])
    game = saddle_point(masses, 0.3)
    rng = np.random.default_rng(4)
    best_rival = max(_worst_two_point(np.exp(0.3 * rng.standard_normal(6)), masses, 0.3) for _ in range(12))
    # With two levels and one eps per level the adversary cannot place the masses it wants.
    pair, ratio = np.array([0.3, 0.7]), np.exp(0.3 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]))

    def worst(log_weight: float) -> float:
        weight = np.array([1.0, math.exp(log_weight)])
        return float(np.min((ratio @ (pair * weight)) ** 2 / (ratio**2 @ pair)) / (pair @ weight**2))

    other = max(worst(h) for h in np.linspace(-0.5, 0.5, 1001))
    return Evidence(
        Comparison(game.efficiency, 1 / math.cosh(0.3) ** 2, 2e-6),
        (
            Comparison(_worst_two_point(np.ones(6), masses, 0.3), 1 / math.cosh(0.3) ** 2, 1e-6, what="worst case of w0"),
            Comparison(best_rival, 1 / math.cosh(0.3) ** 2, 0.0, "<=", what="best worst case of 12 random rivals"),
            Comparison(float(np.abs(game.log_ratio).max()), 0.0, 5e-3, what="largest log-ratio of the minimax weight to w0"),
        ),
        attacks=(
            Attack(
                "two pass-rate levels of masses 0.3 and 0.7 with one eps each",
                bool(other <= worst(0.0) + 1e-9),
                f"w0 keeps its guarantee ({worst(0.0):.4f}), but another weight has a better worst case ({other:.4f})",
                drops="problems of equal pass rate may differ in eps, or p has a density",
            ),
        ),
    )


@section.claim(
    "asymmetric",
    statement="For -d1 <= eps <= d2 only the width counts: the worst case is sech^2((d1 + d2)/2).",
    formula="sech^2((d1 + d2)/2)",
    source="ours",
    assumptions="the scale of the weight is free",
    route="the linear programme with d1 = 0.1, d2 = 0.5",
)
def _() -> Evidence:
    return Evidence(Comparison(find_adversary(0.1, 0.5).efficiency, 1 / math.cosh(0.3) ** 2, 1e-6))


@section.claim(
    "misspecified-exponents",
    statement="A Beta kernel with wrong exponents has a loss in closed form, of second order although its log-ratio is unbounded.",
    formula="1 - B(2a+da+1, 2b+db+1)^2 / (B(2a+1, 2b+1) B(2a+2da+1, 2b+2db+1)), uniform p",
    source="ours",
    assumptions="p ~ Beta with equal second moments; finite second moment of the weight used",
    route="midpoint sum over 10^6 pass rates, exponents (1.5, 0.7) used where (1, 1) are optimal",
)
def _() -> Evidence:
    p = (np.arange(1_000_000) + 0.5) / 1_000_000
    used, best = p**1.5 * (1 - p) ** 0.7, p * (1 - p)
    kept = float((used @ best) ** 2 / ((used @ used) * (best @ best)))
    small, large = (float(beta_misspecification_loss(h, -h / 2)) for h in (0.01, 0.02))
    return Evidence(
        Comparison(float(beta_misspecification_loss(0.5, -0.3)), 1 - kept, 1e-9),
        (
            Comparison(math.log2(large / small), 2.0, 0.02, what="order of the loss"),
            Comparison(2 * small - large / 4, float(beta_misspecification_curvature(0.01, -0.005)), 1e-7, what="its leading term"),
            Comparison(1 - BetaKernel(1.5, 0.7).efficiency(BetaKernel()), 1 - kept, 1e-9, what="loss from the kernels' inner products"),
        ),
    )


@section.claim(
    "one-exponent-off",
    statement="Doubling both exponents costs 3.6 % where (1, 1) is optimal: the exponents need not be known well.",
    formula="loss of (2, 2) = 1 - B(4, 4)^2 / (B(3, 3) B(5, 5)) = 1/28",
    source="ours",
    assumptions="p uniform, equal second moments",
    route="exact rational arithmetic; attacked with exponents (5, 1)",
    recorded="conditional",
)
def _() -> Evidence:
    import sympy as sp

    def beta(x: int, y: int) -> sp.Rational:
        return sp.Rational(sp.factorial(x - 1) * sp.factorial(y - 1), sp.factorial(x + y - 1))

    exact = 1 - beta(4, 4) ** 2 / (beta(3, 3) * beta(5, 5))
    far = float(beta_misspecification_loss(4, 0))
    return Evidence(
        Comparison(float(beta_misspecification_loss(1, 1)), 1 / 28, 1e-12),
        derivation=Derivation("rational Beta functions", exact == sp.Rational(1, 28)),
        attacks=(Attack(f"exponents (5, 1) where (1, 1) is optimal cost {far:.2f}", far < 0.1, "the mode must be about right"),),
    )


_RIVALS: tuple[Kernel, ...] = (Uniform(), HardFilter(), GaussianBump(), BernoulliEntropy(), SqrtVariance())


@section.claim(
    "angles-add",
    statement="Two errors at most add as angles: a kernel at angle t from p(1-p) keeps cos^2(t + gd(delta)) when p(1-p) e^eps is optimal.",
    formula="cos^2(t + gd(delta)), cos^2 t = efficiency against p(1-p), cos gd(delta) = sech(delta)",
    source="ours (triangle inequality for angles in L^2)",
    assumptions="|eps| <= delta, p uniform, equal second moments",
    route="the exact adversary on 20,000 pass rates for five rivals at delta = 0.3",
)
def _() -> Evidence:
    tilt = math.acos(1 / math.cosh(0.3))
    excess = []
    for kernel in _RIVALS:
        angle = math.acos(math.sqrt(kernel.efficiency(BetaKernel())))
        excess.append(worst_case_against(kernel, BetaKernel(), 0.3) - math.cos(angle + tilt) ** 2)
    return Evidence(
        Comparison(min(excess), 0.0, 0.0, ">=", what="smallest excess over the bound"),
        (Comparison(worst_case_against(BetaKernel(), BetaKernel(), 0.3), 1 / math.cosh(0.3) ** 2, 1e-4, what="the kernel itself"),),
    )
