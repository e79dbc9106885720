"""Claims about SNR^2 as p^a (1-p)^b times a bounded factor, and about fitting the leading order."""

import math

import numpy as np

from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.collapse import LogisticStudent
from paced_theory.kernels import BernoulliEntropy
from paced_theory.representation import (
    boundary_exponent,
    boundary_exponents,
    compare_models,
    counterexample,
    fit_leading_order,
    fit_leading_order_batch,
    guaranteed_efficiency,
    oscillation,
    remainder,
)

section = Section("representation", "Representation and leading-order fit", "paced_theory/representation.py")


def _efficiency(used: np.ndarray, best: np.ndarray) -> float:
    return float((used @ best) ** 2 / ((used @ used) * (best @ best)))


@section.claim(
    "decomposition",
    statement="A positive function with power-law boundaries is p^a (1-p)^b e^r with r bounded and continuous up to the ends.",
    formula="r(0+) = log c0, r(1-) = log c1",
    source="PACED Prop. 2",
    assumptions="f/p^a -> c0 > 0 at 0 and f/(1-p)^b -> c1 > 0 at 1",
    route="exponents found numerically for f = sin(pi p) sqrt(p) e^cos(3p), r followed to 1e-9 of both ends",
)
def _() -> Evidence:
    import sympy as sp

    x = sp.symbols("x", positive=True)
    f_symbolic = sp.sin(sp.pi * x) * sp.sqrt(x) * sp.exp(sp.cos(3 * x))
    limits = (sp.limit(f_symbolic / x ** sp.Rational(3, 2), x, 0), sp.limit(f_symbolic / (1 - x), x, 1))
    derived = limits[0] == sp.pi * sp.E and sp.simplify(limits[1] - sp.pi * sp.exp(sp.cos(3))) == 0

    def f(p: np.ndarray) -> np.ndarray:
        sine = np.where(p < 0.5, np.sin(np.pi * p), np.sin(np.pi * (1 - p)))
        return np.asarray(sine * np.sqrt(p) * np.exp(np.cos(3 * p)))

    at_zero, at_one = boundary_exponents(f)
    p = np.concatenate([np.geomspace(1e-9, 0.5, 200), 1 - np.geomspace(0.5, 1e-9, 200)])
    r = remainder(p, f(p), 1.5, 1.0)
    return Evidence(
        Comparison(at_zero.exponent, 1.5, 1e-6, what="a"),
        (
            Comparison(at_one.exponent, 1.0, 1e-6, what="b"),
            Comparison(float(r[0]), math.log(math.pi * math.e), 1e-6, what="r(0+)"),
            Comparison(float(r[-1]), math.log(math.pi) + math.cos(3), 1e-6, what="r(1-)"),
            Comparison(float(np.abs(r).max()), 10.0, 0.0, "<=", what="largest |r|"),
        ),
        Derivation("limits c0 = pi e and c1 = pi e^cos 3", bool(derived)),
    )


@section.claim(
    "vanishing-not-enough",
    statement="Vanishing at both ends is not enough: p|log p| has no Beta form, its remainder is unbounded.",
    formula="p|log p| / p^a -> oo for a >= 1, -> 0 for a < 1",
    source="PACED, counter-example to Prop. 2",
    assumptions="none",
    route="numeric exponent and the remainder's growth from p = 2^-40 to 2^-1000",
)
def _() -> Evidence:
    import sympy as sp

    x = sp.symbols("x", positive=True)
    f = -x * sp.log(x)
    symbolic = sp.limit(f / x, x, 0) == sp.oo and sp.limit(f / x ** sp.Rational(9, 10), x, 0) == 0
    found = boundary_exponent(counterexample)
    p = np.exp2([-40.0, -1000.0])
    growth = float(np.diff(remainder(p, np.asarray(counterexample(p)), 1.0, 0.0))[0])
    return Evidence(
        Comparison(growth, math.log(1000 / 40), 1e-9, what="r(2^-1000) - r(2^-40)"),
        (Comparison(float(found.is_power_law), 0.0, 0.0, what="recognised as a power law"),),
        Derivation("limits at a = 1 and a = 0.9", bool(symbolic)),
    )


@section.claim(
    "entropy-outside",
    statement="The Bernoulli entropy lies outside the Beta family too: H(p)/p is unbounded at 0.",
    formula="H(p)/p ~ |log p| -> oo",
    source="ours",
    assumptions="none",
    route="numeric exponent of the package's entropy kernel",
)
def _() -> Evidence:
    import sympy as sp

    x = sp.symbols("x", positive=True)
    entropy = -x * sp.log(x) - (1 - x) * sp.log(1 - x)
    found = boundary_exponent(lambda p: BernoulliEntropy()(p))
    return Evidence(
        Comparison(float(found.is_power_law), 0.0, 0.0, what="recognised as a power law"),
        derivation=Derivation("limit of H(p)/p", sp.limit(entropy / x, x, 0) == sp.oo),
    )


@section.claim(
    "snr-weight",
    statement="The gain 2 w s - w^2 m is best at w = SNR^2/(1 + SNR^2), so w ~ SNR^2 to leading order.",
    formula="argmax_w = s/m = SNR^2/(1 + SNR^2); efficiency of SNR^2 >= sech^2(log(1 + max SNR^2)/2)",
    source="PACED Prop. 2 (leading order); bound ours",
    assumptions="s = |E g|^2, m = E|g|^2; SNR^2 = 4 M p(1-p) with M = 0.01",
    route="efficiency by midpoint sum, for M = 0.01 and 10",
)
def _() -> Evidence:
    import sympy as sp

    w, s, n2 = sp.symbols("w s n2", positive=True)
    best = sp.solve(sp.diff(2 * w * s - w**2 * (s + n2), w), w)[0]
    ratio = sp.simplify(best - (s / n2) / (1 + s / n2)) == 0
    p = (np.arange(100_000) + 0.5) / 100_000

    def kept(largest: float) -> float:
        snr2 = 4 * largest * p * (1 - p)
        root = np.sqrt(1 + snr2)  # sqrt(m) where the noise variance is 1 at every pass rate
        return _efficiency(snr2 * root, snr2 / (1 + snr2) * root)

    guarantee = 1 / math.cosh(math.log(11) / 2) ** 2
    return Evidence(
        Comparison(kept(0.01), 1.0, 1e-4, what="efficiency at M = 0.01"),
        (Comparison(kept(10.0) - guarantee, 0.0, 0.0, ">=", what="excess over the bound at M = 10"),),
        Derivation("stationary point of the gain", ratio),
        (
            Attack(
                "max SNR^2 = 10",
                kept(10.0) > 0.999,
                f"w = SNR^2 then keeps {kept(10.0):.3f}; it needs SNR^2 well below 1 at every pass rate",
                drops="M = 0.01",
            ),
        ),
    )


@section.claim(
    "fit-recovers",
    statement="The weighted log-linear fit recovers both exponents, and its 95 % intervals cover them.",
    formula="log SNR^2 = c + a log p + b log(1-p)",
    source="ours (leading-order fit)",
    assumptions="11 bins, independent errors of 5 %, known standard errors",
    route="1,000 simulated fits with a = 1.4, b = 0.8",
)
def _() -> Evidence:
    rng = np.random.default_rng(31)
    p = np.linspace(0.05, 0.95, 11)
    truth = 0.02 * p**1.4 * (1 - p) ** 0.8
    fits = [fit_leading_order(p, truth * (1 + 0.05 * rng.standard_normal(11)), 0.05 * truth) for _ in range(1000)]
    covered = np.mean([fit.a_low <= 1.4 <= fit.a_high for fit in fits]), np.mean([fit.b_low <= 0.8 <= fit.b_high for fit in fits])
    return Evidence(
        Comparison(float(np.mean([fit.a for fit in fits])), 1.4, 0.01, what="mean of a"),
        (
            Comparison(float(np.mean([fit.b for fit in fits])), 0.8, 0.01, what="mean of b"),
            Comparison(float(covered[0]), 0.95, 0.025, what="coverage of a"),
            Comparison(float(covered[1]), 0.95, 0.025, what="coverage of b"),
        ),
    )


@section.claim(
    "log-fit-selection",
    statement="Dropping bins with a negative estimate of SNR^2, as a log fit must, biases the exponents; the linear fit keeps them.",
    formula="E[a_log] < a where noise is as large as SNR^2 near p = 0",
    source="ours",
    assumptions="unbiased estimates of either sign with equal standard errors, true a = b = 1",
    route="400 simulated data sets, both fits",
)
def _() -> Evidence:
    rng = np.random.default_rng(32)
    p = np.linspace(0.04, 0.96, 13)
    truth, error = 0.04 * p * (1 - p), 0.0015
    data = truth + error * rng.standard_normal((400, 13))
    linear = fit_leading_order_batch(p, data, np.full(13, error))
    logs = [fit_leading_order(p[y > 0], y[y > 0], np.full(int((y > 0).sum()), error)) for y in data]
    return Evidence(
        Comparison(float(np.median(linear[:, 1])), 1.0, 0.06, what="median a of the linear fit"),
        (Comparison(float(np.median([fit.a for fit in logs])), float(np.median(linear[:, 1])), 0.0, "<=", what="median a of the log fit"),),
    )


@section.claim(
    "fit-guarantee",
    statement="A kernel fitted to SNR^2 keeps at least sech^2(osc(r)/2) of the progress, osc(r) being the spread of the fit's residual.",
    formula="efficiency >= sech^2(osc(r)/2)",
    source="ours",
    assumptions="r known on the whole range of pass rates in use",
    route="fits to the logistic model's SNR^2 for 6 values of kappa; efficiency by midpoint sums over p in [0.01, 0.99]",
)
def _() -> Evidence:
    p = np.linspace(0.01, 0.99, 4001)

    def excess(kappa: float, bins: np.ndarray, seen: np.ndarray) -> float:
        """Efficiency of the kernel fitted at `bins`, less the guarantee from the residual at `seen`."""
        student = LogisticStudent(kappa=kappa, noise_floor=0.1)
        truth = np.asarray(student.snr_squared(bins))
        fit = fit_leading_order(bins, truth, 0.05 * truth)
        spread = oscillation(np.log(student.snr_squared(seen)) - np.log(fit.snr_squared(seen)))
        return _efficiency(fit.snr_squared(p), np.asarray(student.snr_squared(p))) - guaranteed_efficiency(spread)

    everywhere, middle = np.linspace(0.05, 0.95, 19), np.linspace(0.4, 0.6, 5)
    narrow = excess(0.5, middle, middle)
    return Evidence(
        Comparison(min(excess(kappa, everywhere, p) for kappa in (0.1, 0.3, 0.5, 0.8, 1.2, 2.0)), 0.0, 0.0, ">=", what="smallest excess"),
        attacks=(
            Attack(
                "r seen at 5 bins in [0.4, 0.6] only",
                narrow >= 0,
                f"the efficiency is then {-narrow:.4f} below what they promise: r may grow between the bins and beyond them",
                drops="r known on the whole range of pass rates in use",
            ),
        ),
    )


@section.claim(
    "model-comparison",
    statement="AIC tells the Beta form from its rivals once standard errors are small against the differences.",
    formula="AIC = chi^2 + 2 k, least for p^a (1-p)^b",
    source="ours",
    assumptions="11 bins, SNR^2 = p^2 (1-p)^0.7 / 20, standard errors of 1 % of the peak",
    route="share of 60 simulated data sets in which the true form has the least AIC, at 1 % and at 50 % error",
)
def _() -> Evidence:
    rng = np.random.default_rng(33)
    p = np.linspace(0.05, 0.95, 11)
    truth = 0.05 * p**2 * (1 - p) ** 0.7

    def share(relative: float) -> float:
        error = np.full(11, relative * truth.max())
        wins = [compare_models(p, truth + error * rng.standard_normal(11), error)[0].name == "p^a (1-p)^b" for _ in range(60)]
        return float(np.mean(wins))

    noisy = share(0.5)
    return Evidence(
        Comparison(share(0.01), 0.9, 0.0, ">=", what="share at errors of 1 % of the peak"),
        attacks=(
            Attack(
                "errors of 50 % of the peak",
                noisy > 0.9,
                f"the true form then wins in {noisy:.0%} of the data sets",
                drops="standard errors of 1 % of the peak",
            ),
        ),
    )
