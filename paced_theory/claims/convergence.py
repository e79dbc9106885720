"""Claims about the variance ratio R and the SGD bound."""

import math

import numpy as np

from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.convergence import (
    breakeven_signal_exponent,
    quadratic,
    quadratic_mean_squared_gradient,
    saturating,
    sgd_bound,
    simulate_sgd,
    steps_to_reach,
    variance_ratio,
    variance_ratio_of,
)
from paced_theory.langevin import Langevin, asgld_mean_squared_gradient

section = Section("convergence", "Variance inflation and SGD", "paced_theory/convergence.py")


def _mean(power_p: float, power_q: float) -> float:
    """The integral of p^power_p (1-p)^power_q by QUADPACK: its rule for algebraic end points takes the negative powers."""
    from scipy.integrate import quad

    poles = (min(power_p, 0.0), min(power_q, 0.0))
    value, _ = quad(
        lambda p: p ** (power_p - poles[0]) * (1 - p) ** (power_q - poles[1]),
        0,
        1,
        weight="alg",
        wvar=poles,
        epsabs=0,
        epsrel=1e-11,
        limit=200,
    )
    return float(value)


def _ratio_by_quadrature(signal_exponent: float, alpha: float, beta: float, prior: tuple[float, float] = (1.0, 1.0)) -> float:
    """R from four integrals."""
    gamma, (a, b) = 2 * signal_exponent - 1, (prior[0] - 1, prior[1] - 1)
    weighted_noise, noise = _mean(a + 2 * alpha + gamma, b + 2 * beta + gamma), _mean(a + gamma, b + gamma)
    return weighted_noise * _mean(a, b) ** 2 / (_mean(a + alpha, b + beta) ** 2 * noise)


@section.claim(
    "ratio-closed-form",
    statement="The variance inflation ratio is a ratio of Beta functions; for the default kernel and uniform p it is rational in a_s.",
    formula="R = B(2 alpha+g+1, 2 beta+g+1) / (B(alpha+1, beta+1)^2 B(g+1, g+1)), g = 2 a_s - 1; 18 a_s (2 a_s+1)/((4 a_s+1)(4 a_s+3))",
    source="PACED eq. 33 (definition); closed form ours",
    assumptions="noise variance (p(1-p))^(2 a_s - 1), p uniform or Beta(a, b)",
    route="QUADPACK integrals at a_s = 0.3, (alpha, beta) = (1.5, 0.7), p ~ Beta(2, 0.8)",
)
def _() -> Evidence:
    import sympy as sp

    a = sp.symbols("a_s", positive=True)
    gamma = 2 * a - 1

    def beta(x: sp.Expr, y: sp.Expr) -> sp.Expr:
        return sp.gamma(x) * sp.gamma(y) / sp.gamma(x + y)

    ratio = sp.gammasimp(beta(3 + gamma, 3 + gamma) / (beta(2, 2) ** 2 * beta(1 + gamma, 1 + gamma)))
    identity = sp.simplify(ratio - 18 * a * (2 * a + 1) / ((4 * a + 1) * (4 * a + 3))) == 0
    return Evidence(
        Comparison(float(variance_ratio(0.3, 1.5, 0.7, (2.0, 0.8))), _ratio_by_quadrature(0.3, 1.5, 0.7, (2.0, 0.8)), 1e-9),
        (Comparison(float(variance_ratio(0.8)), _ratio_by_quadrature(0.8, 1, 1), 1e-10, what="uniform p, default kernel"),),
        Derivation("Gamma functions reduce to the rational form", identity),
    )


@section.claim(
    "paper-figures",
    statement="R is 0.84375 at a_s = 1/4 and 1.2 at a_s = 1/2, the paper's figures.",
    formula="R(1/4) = 27/32, R(1/2) = 6/5",
    source="PACED, text after eq. 33",
    assumptions="p uniform, alpha = beta = 1",
    route="QUADPACK integrals",
)
def _() -> Evidence:
    return Evidence(
        Comparison(_ratio_by_quadrature(0.25, 1, 1), 27 / 32, 1e-9, what="a_s = 1/4"),
        (
            Comparison(_ratio_by_quadrature(0.5, 1, 1), 6 / 5, 1e-9, what="a_s = 1/2"),
            Comparison(float(np.abs(variance_ratio([0.25, 0.5]) - [27 / 32, 6 / 5]).max()), 0.0, 1e-14, what="closed form"),
        ),
    )


@section.claim(
    "break-even",
    statement="Weighting lowers the noise exactly for a_s below (sqrt(61) - 1)/20 = 0.3405.",
    formula="R(a_s) = 1 <=> 20 a_s^2 + 2 a_s - 3 = 0 <=> a_s = (sqrt(61) - 1)/20",
    source="ours (the paper gives about 0.34)",
    assumptions="p uniform, alpha = beta = 1",
    route="root of the quadrature value of R by bisection",
)
def _() -> Evidence:
    import sympy as sp
    from scipy.optimize import brentq

    a = sp.symbols("a_s", positive=True)
    roots = sp.solve(sp.Eq(18 * a * (2 * a + 1), (4 * a + 1) * (4 * a + 3)), a)
    stated = (math.sqrt(61) - 1) / 20
    numeric = brentq(lambda x: _ratio_by_quadrature(x, 1, 1) - 1, 0.2, 0.6, xtol=1e-12)
    return Evidence(
        Comparison(float(numeric), stated, 1e-8),
        (Comparison(breakeven_signal_exponent(), stated, 1e-12, what="break-even of the closed form"),),
        Derivation("the positive root", roots == [(sp.sqrt(61) - 1) / 20]),
    )


@section.claim(
    "ratio-range",
    statement="R rises from 0 at a_s = 0 to 9/4 as a_s grows: weighting can remove all the noise, and can inflate it 2.25 times at most.",
    formula="R(0+) = 0, R(oo) = w(1/2)^2 / E[w]^2 = 9/4, dR/da_s > 0",
    source="ours",
    assumptions="p uniform, alpha = beta = 1",
    route="finite differences of the quadrature value on a_s = 0.05..20",
)
def _() -> Evidence:
    import sympy as sp

    a = sp.symbols("a_s", positive=True)
    ratio = 18 * a * (2 * a + 1) / ((4 * a + 1) * (4 * a + 3))
    slope = sp.numer(sp.together(sp.diff(ratio, a)))
    positive = all(coefficient > 0 for coefficient in sp.Poly(sp.expand(slope), a).coeffs())
    limits = sp.limit(ratio, a, 0) == 0 and sp.limit(ratio, a, sp.oo) == sp.Rational(9, 4)
    values = [_ratio_by_quadrature(x, 1, 1) for x in np.geomspace(0.05, 20, 12)]
    return Evidence(
        Comparison(float(np.diff(values).min()), 0.0, 0.0, ">=", what="smallest step of R"),
        (Comparison(float(variance_ratio(1e5)), 9 / 4, 1e-4, what="R at a_s = 100,000"),),
        Derivation("limits 0 and 9/4; the numerator of dR/da_s has positive coefficients", bool(positive and limits)),
    )


@section.claim(
    "ratio-monotone",
    statement="R increases with the signal exponent for every Beta kernel, so there is one break-even exponent.",
    formula="dR/da_s > 0",
    source="ours (attempted generalisation)",
    assumptions="p uniform, alpha, beta >= 0 not both 0",
    route="quadrature values for symmetric kernels; attacked with asymmetric ones",
    recorded="conditional",
)
def _() -> Evidence:
    grid = np.geomspace(0.03, 30, 10)
    symmetric = min(float(np.diff([_ratio_by_quadrature(x, s, s) for x in grid]).min()) for s in (0.5, 1, 2, 4))
    skewed = [_ratio_by_quadrature(x, 5, 1) for x in grid]
    return Evidence(
        Comparison(symmetric, 0.0, 0.0, ">=", what="smallest step over symmetric kernels"),
        attacks=(
            Attack(
                f"alpha = 5, beta = 1: R rises to {max(skewed):.2f} and falls to {skewed[-1]:.2f}, crossing 1 twice",
                bool(np.all(np.diff(skewed) > 0)),
                "alpha = beta, or nearly",
            ),
        ),
    )


@section.claim(
    "breakeven-law",
    statement="The break-even exponent 0.34 is a property of the default kernel, whatever the law of pass rates.",
    formula="R(0.3405) = 1",
    source="ours (attack on the paper's use of uniform p)",
    assumptions="alpha = beta = 1",
    route="quadrature at the stated exponent; attacked with Beta laws of p",
    recorded="conditional",
)
def _() -> Evidence:
    stated = (math.sqrt(61) - 1) / 20
    laws = {(2.0, 2.0): 0.0, (0.7, 0.7): 0.0, (1.0, 3.0): 0.0}
    for law in laws:
        laws[law] = breakeven_signal_exponent(prior=law)
    listed = ", ".join(f"{value:.3f} under Beta{law}" for law, value in laws.items())
    return Evidence(
        Comparison(_ratio_by_quadrature(stated, 1, 1), 1.0, 1e-8, what="R under uniform p"),
        attacks=(Attack(f"other laws: the break-even is {listed}", max(abs(v - stated) for v in laws.values()) < 0.01, "p uniform"),),
    )


@section.claim(
    "noise-only",
    statement="R > 1, at every a_s above 0.3405, means that weighting slows learning down (it does so only above 0.6269).",
    formula="R > 1 => G < 1; G = (E[w s]^2/E[w^2 n2]) / (E[s]^2/E[n2]) = (1+a_s)^2 (4 a_s+1)(4 a_s+3) / (2 a_s (2 a_s+1)(2 a_s+3)^2)",
    source="ours (a tempting reading of PACED eq. 33, put to the test)",
    assumptions="p uniform, alpha = beta = 1; mean gradients at all pass rates share one direction and have size s",
    route="quadrature of the signal as well as the noise, at a_s = 1/2 and on both sides of the root of G = 1",
    recorded="refuted",
)
def _() -> Evidence:
    import sympy as sp

    def beta(x: sp.Expr) -> sp.Expr:
        return sp.gamma(x) ** 2 / sp.gamma(2 * x)

    def gain(a: float) -> float:
        gamma = 2 * a - 1
        with_weight = _mean(1 + a, 1 + a) ** 2 / _mean(2 + gamma, 2 + gamma)
        return with_weight * _mean(gamma, gamma) / _mean(a, a) ** 2

    a = sp.symbols("a_s", positive=True)
    closed = (1 + a) ** 2 * (4 * a + 1) * (4 * a + 3) / (2 * a * (2 * a + 1) * (2 * a + 3) ** 2)
    ratio = sp.gammasimp(beta(2 + a) ** 2 * beta(2 * a) / (beta(2 + 2 * a) * beta(1 + a) ** 2))
    cubic = sp.Poly(8 * a**3 + 9 * a**2 - 4 * a - 3, a)
    derived = sp.simplify(ratio - closed) == 0 and sp.rem(sp.Poly(sp.numer(sp.together(closed - 1)), a), cubic).is_zero
    (root,) = [float(x) for x in sp.real_roots(cubic) if x > 0]
    apart = [_mean(2 * x + 1, 2 * x + 1) * _mean(2 * x - 1, 2 * x - 1) / _mean(2 * x, 2 * x) ** 2 for x in (0.35, 0.5, 1, 2, 5)]
    # R counts noise per unit of mean weight, but the weights also move mean weight to where the signal is.
    return Evidence(
        Comparison(gain(0.5), 1.0, 0.0, "<=", what="G at a_s = 1/2"),
        (
            Comparison(float(variance_ratio(0.5)), 1.0, 0.0, ">=", what="R at a_s = 1/2"),
            Comparison(root, 0.6269, 5e-5, what="a_s from which it is true"),
            Comparison(max(gain(x) for x in np.linspace(root, 5, 12)[1:]), 1.0, 0.0, "<=", what="largest G above it, a_s up to 5"),
            Comparison(min(apart), 1.0, 0.0, ">=", what="smallest G where each pass rate has its own direction, a_s from 0.35 to 5"),
        ),
        Derivation("G by Gamma functions; G = 1 at the one positive root of 8 a^3 + 9 a^2 - 4 a - 3", bool(derived)),
    )


@section.claim(
    "aligned-optimum",
    statement="The weight p(1-p) is the one with the most signal per noise.",
    formula="w ~ SNR^2 = p(1-p)",
    source="PACED Prop. 2 (weight proportional to SNR^2)",
    assumptions="each pass rate is its own direction: the gain is E[2 w s^2 - w^2 m]",
    route="numeric maximisation of the gain over weights on 200 pass rates with SNR^2 <= 0.01; attacked with aligned gradients",
)
def _() -> Evidence:
    p = (np.arange(200) + 0.5) / 200
    shape = p * (1 - p)

    def angle(one: np.ndarray, two: np.ndarray, measure: np.ndarray) -> float:
        return float((measure @ (one * two)) ** 2 / (measure @ one**2 * (measure @ two**2)))

    a_s = 0.25
    signal2, noise2 = 0.04 * shape ** (2 * a_s), shape ** (2 * a_s - 1)
    optimum = signal2 / (signal2 + noise2)  # of 2 w s^2 - w^2 (s^2 + n2), pointwise
    aligned = np.sqrt(signal2) / noise2  # of E[w s]^2 / E[w^2 n2], by Cauchy-Schwarz: exponent 1 - a_s, not 1
    slope = np.polyfit(np.log(shape), np.log(aligned), 1)[0]
    return Evidence(
        Comparison(angle(shape, optimum, signal2 + noise2), 1.0, 1e-5, what="efficiency of p(1-p)"),
        attacks=(
            Attack(
                "mean gradients in one shared direction, a_s = 1/4",
                angle(shape, aligned, noise2) > 1 - 1e-5,
                f"the optimum is then SNR^2/s, of exponent {slope:.2f} = 1 - a_s, and p(1-p) keeps {angle(shape, aligned, noise2):.4f}",
                drops="each pass rate is its own direction",
            ),
        ),
    )


@section.claim(
    "sgd-noise",
    statement="In SGD the weighted and unweighted noise terms stand in the ratio R.",
    formula="E||g_w - grad L||^2 / E||g - grad L||^2 = R for weights of mean one",
    source="PACED eq. 33",
    assumptions="one problem from each of 64 equally likely bins a step, a_s = 1/2 and 1",
    route="sample variance of 20,000 simulated steps at a fixed point, R for the bins and, in the limit, for uniform p",
)
def _() -> Evidence:
    rng = np.random.default_rng(17)
    p = (np.arange(64) + 0.5) / 64

    def simulated(a_s: float) -> float:
        n2 = (p * (1 - p)) ** (2 * a_s - 1)
        noise = []
        for weight in (p * (1 - p) / np.mean(p * (1 - p)), np.ones(64)):
            steps = (weight * np.sqrt(n2) * rng.standard_normal((20_000, 64))).mean(axis=1)
            noise.append(float(np.mean(steps**2)))
        return noise[0] / noise[1]

    n2 = p * (1 - p)
    return Evidence(
        Comparison(simulated(0.5), float(variance_ratio(0.5)), 0.05, what="a_s = 1/2"),
        (
            Comparison(simulated(1.0), float(variance_ratio(1.0)), 0.06, what="a_s = 1"),
            Comparison(
                variance_ratio_of(p * (1 - p), n2), float(variance_ratio(1.0)), 2e-3, what="R of the 64 bins against uniform p, a_s = 1"
            ),
        ),
    )


@section.claim(
    "sgd-bound",
    statement="The mean squared gradient of SGD stays below 2 gap/(eta T) + L eta sigma^2, on a quadratic and on a non-convex objective.",
    formula="(1/T) sum_t E||grad L(theta_t)||^2 <= 2 (L(theta_0) - L*)/(eta T) + L eta sigma^2",
    source="PACED Prop. 8",
    assumptions="L-smooth, unbiased gradients of variance sigma^2, eta <= 1/L",
    route="50 trajectories each of SGD; the quadratic's mean is also known exactly",
)
def _() -> Evidence:
    rng = np.random.default_rng(23)
    p = (np.arange(16) + 0.5) / 16
    shape = p * (1 - p)
    worst, exact_gap = 0.0, 0.0
    for objective, start in ((quadratic([1.0, 0.5, 0.1]), [1.0, 1.0, 1.0]), (saturating(), [2.0, 1.0, 0.5])):
        for weight in (np.ones(16), shape):
            run = simulate_sgd(objective, start, weight, shape**-0.5, 0.2, 200, 50, rng)
            worst = max(worst, float((run.mean_squared_gradient / run.bound).max()))
            if objective.name == "quadratic":
                exact = quadratic_mean_squared_gradient([1.0, 0.5, 0.1], start, run.noise_variance, 0.2, 200)
                error = run.mean_squared_gradient.std() / math.sqrt(50)
                exact_gap = max(exact_gap, abs(run.mean_squared_gradient.mean() - exact) / error)
    heavy = simulate_sgd(saturating(), [2.0, 1.0, 0.5], shape, shape**-0.5, 0.2, 200, 50, rng, tail=2.5)
    tail_ratio = float(heavy.mean_squared_gradient.max() / heavy.bound)
    eta, steps = 1.9, 400  # beyond 1/L = 1, still short of divergence at 2/L
    beyond = quadratic_mean_squared_gradient([1.0], [1.0], 0.0, eta, steps)
    return Evidence(
        Comparison(worst, 1.0, 0.0, "<=", what="largest value/bound over all trajectories"),
        (Comparison(exact_gap, 4.0, 0.0, "<=", what="largest distance to the exact mean, in standard errors"),),
        attacks=(
            Attack(
                f"Student's t noise with 2.5 degrees of freedom: largest trajectory at {tail_ratio:.2f} of the bound", tail_ratio < 1, ""
            ),
            Attack(
                "step size 1.9/L",
                beyond <= 2 * 0.5 / (eta * steps),
                f"the value is {beyond / (2 * 0.5 / (eta * steps)):.1f} times the formula",
                drops="eta <= 1/L",
            ),
        ),
    )


@section.claim(
    "steps-saved",
    statement="At a_s = 1/4 weighting reaches the same gradient norm in 15.6 % fewer steps.",
    formula="T_weighted / T_unweighted = R(1/4) = 27/32",
    source="ours (consequence of PACED Prop. 8)",
    assumptions="steps counted by the bound with the best step size eta <= 1/L",
    route="numeric minimisation of the bound over the step size",
    recorded="conditional",
)
def _() -> Evidence:
    from scipy.optimize import minimize_scalar

    ratio = float(variance_ratio(0.25))

    def fewest(noise: float, target: float) -> float:
        def steps(log_eta: float) -> float:
            eta = math.exp(log_eta)
            # sgd_bound at one step gives 2 gap/eta + L eta sigma^2; the first term falls as 1/T.
            drift, floor = sgd_bound(1.0, 1.0, 0.0, eta, 1), sgd_bound(0.0, 1.0, noise, eta, 1)
            return drift / (target - floor) if floor < target else 1e12

        return float(minimize_scalar(steps, bounds=(-12.0, 0.0), method="bounded", options={"xatol": 1e-10}).fun)

    noisy = fewest(ratio, 0.02) / fewest(1.0, 0.02)
    quiet = fewest(0.01 * ratio, 1.0) / fewest(0.01, 1.0)
    closed = steps_to_reach(0.02, 1.0, 1.0, ratio) / steps_to_reach(0.02, 1.0, 1.0, 1.0)
    return Evidence(
        Comparison(noisy, 27 / 32, 1e-5),
        (Comparison(closed, 27 / 32, 1e-12, what="closed form of the step count"),),
        attacks=(
            Attack(
                f"noise of 1 % of the target: the ratio is {quiet:.4f}",
                quiet < 0.9,
                "noise dominates, sigma^2 >= half the squared gradient aimed at; otherwise the saving vanishes",
            ),
        ),
    )


@section.claim(
    "asgld-ratio",
    statement="R orders weighted and unweighted training under adaptive Langevin noise (ASGLD) as it does under SGD.",
    formula="E||grad L||^2 weighted / unweighted = R at stationarity, for SGD and for ASGLD of any strength",
    source="ours (does R survive another optimiser?)",
    assumptions="quadratic objective, started at its minimum, one problem from each of 16 equally likely bins a step, step size inside the stable range",
    route="exact second moments, and 400 simulated trajectories; attacked far from the minimum, by a short run and by a non-convex objective",
)
def _() -> Evidence:
    p = (np.arange(16) + 0.5) / 16
    shape, added = p * (1 - p), Langevin(strength=1.0)
    ratios = {a_s: variance_ratio_of(shape, shape ** (2 * a_s - 1)) for a_s in (0.25, 0.5)}

    def noise(weight: np.ndarray, a_s: float) -> float:
        w = weight / weight.mean()
        return float(w**2 @ shape ** (2 * a_s - 1)) / 16**2

    def exact(a_s: float, strength: float, start: float, steps: int) -> float:
        """The ratio of mean squared gradients."""
        langevin = Langevin(strength)
        values = [asgld_mean_squared_gradient(langevin, 0.8, start, noise(weight, a_s), 0.1, steps) for weight in (shape, np.ones(16))]
        return values[0] / values[1]

    def simulated(a_s: float, objective: str, size: float) -> float:
        found = []
        for weight in (shape, np.ones(16)):
            made = quadratic([1.0, 0.5]) if objective == "quadratic" else saturating()
            run = simulate_sgd(
                made, [0.0, 0.0], weight, size * shape ** (2 * a_s - 1), 0.1, 300, 400, np.random.default_rng(29), langevin=added
            )
            found.append(float(run.mean_squared_gradient.mean()))
        return found[0] / found[1]

    worst = max(abs(exact(a_s, psi, 0.0, 500) / ratio - 1) for a_s, ratio in ratios.items() for psi in (0.0, 0.5, 2.0))
    far, big = exact(0.5, 1.0, 10.0, 50), simulated(0.5, "saturating", 400.0)
    return Evidence(
        Comparison(worst, 0.0, 1e-10, what="largest relative difference of the exact ratio to R"),
        (
            Comparison(simulated(0.25, "quadratic", 1.0), ratios[0.25], 0.03, what="simulated, a_s = 1/4"),
            Comparison(simulated(0.5, "quadratic", 1.0), ratios[0.5], 0.04, what="simulated, a_s = 1/2"),
        ),
        attacks=(
            Attack(
                f"started far away, 50 steps: the ratio is {far:.4f}, R {ratios[0.5]:.4f}",
                abs(far - ratios[0.5]) < 0.01,
                "noise has taken over from the start's gradient",
                drops="started at its minimum",
            ),
            Attack(
                f"a non-convex objective under strong noise: the ratio is {big:.3f}, R {ratios[0.5]:.3f}",
                big > 1,
                "the objective is quadratic where the iterates are",
                drops="quadratic objective",
            ),
        ),
    )
