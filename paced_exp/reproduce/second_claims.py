"""The claims of the second protocol (docs/protocol-v2.md). Written before its runs.

A claim rests on one primary hypothesis, and Holm's method corrects for the primary ones alone. The others are exploratory: they are measured
and printed, and decide nothing. R, A and E are ours; the paper does not make them.
"""

from paced_exp.reproduce.claims import MARGIN, Claim, Contrast, Hypothesis, Measure, difference, within_margin
from paced_exp.reproduce.grids import BY_NAME

ONE, SHORT, PUBLISHED, SELF = "one-pass", "one-pass-short", "as-published", "self-one-pass"
_ORDER, _SHARE, _ROLLOUTS, _EXPONENTS, _KERNELS = (
    "order-one-pass",
    "share-one-pass",
    "rollouts-one-pass",
    "exponents-one-pass",
    "kernels-one-pass",
)
_OTHER_EXPONENTS = tuple(row.name for row in BY_NAME[_EXPONENTS].rows if row.name != "a1-b1")


def _exploratory(name: str, words: str, table: str, better: str, worse: str, measure: Measure = "primary") -> Hypothesis:
    return difference(name, words, table, better, worse, measure, primary=False)


def _both(name: str, words: str, table: str, better: str, *worse: str) -> Hypothesis:
    """One row is better than every one of the others."""
    return Hypothesis(name, words, tuple(Contrast(table, ((1.0, better), (-1.0, other))) for other in worse))


def _later(name: str, words: str, contrasts: tuple[Contrast, ...]) -> Hypothesis:
    """One that was declared when its runs had been seen: docs/protocol-v2.md says why."""
    return Hypothesis(name, f"{words}; declared after its runs", contrasts, primary=False, later=True)


def _change(name: str, words: str, updates: str, *, primary: bool) -> Hypothesis:
    """PACED − unweighted over one pass, less the same over many passes at so many times the updates."""
    terms = ((1.0, "paced"), (-1.0, "uniform"), (-1.0, f"multi-pass/paced-{updates}"), (1.0, f"multi-pass/uniform-{updates}"))
    return Hypothesis(name, words, (Contrast(ONE, terms),), primary)


def _probed(name: str, words: str, *, primary: bool = False) -> Hypothesis:
    """Decided by a probe of ranges (`c1`)."""
    return Hypothesis(name, f"{words}: SNR²(middle)/2 − SNR²(range)", (), primary)


SECOND_CLAIMS = (
    Claim(
        "C1",
        "the SNR is a bell",
        (
            _probed("C1.low", "Qwen3, before update 1, the range [0, 0.01)", primary=True),
            _probed("C1.high", "Qwen3, before update 1, the range (0.99, 1]"),
            _probed("C1.llama-low", "Llama, before update 1, the range [0, 0.01)"),
            _probed("C1.llama-high", "Llama, before update 1, the range (0.99, 1]"),
        ),
        2,
    ),
    Claim(
        "C2",
        "PACED beats no weighting",
        (
            difference("C2.one-pass", "one pass: PACED − unweighted", ONE, "paced", "uniform"),
            _exploratory("C2.bayes", "one pass: PACED (empirical Bayes) − unweighted", ONE, "paced-eb", "uniform"),
            _exploratory("C2.short", "one pass, half the updates: PACED − unweighted", SHORT, "paced-short", "uniform-short"),
            _exploratory(
                "C2.short-bayes",
                "one pass, half the updates: PACED (empirical Bayes) − unweighted",
                SHORT,
                "paced-eb-short",
                "uniform-short",
            ),
            _exploratory("C2.published", "one pass, as published: PACED − unweighted", PUBLISHED, "paced-published", "uniform"),
            _exploratory("C2.self", "self-distillation, one pass: PACED − unweighted", SELF, "paced", "uniform"),
            _exploratory("C2.self-bayes", "self-distillation, one pass: PACED (empirical Bayes) − unweighted", SELF, "paced-eb", "uniform"),
        ),
        2,
    ),
    Claim(
        "C3",
        "PACED beats both AKL and the hard filter (all trained half as long)",
        (
            _both(
                "C3.both",
                "one pass, half the updates: PACED − AKL, and PACED − hard filter (the smaller)",
                SHORT,
                "paced-short",
                "akl-short",
                "hard-filter-short",
            ),
            _exploratory("C3.akl", "one pass: PACED − AKL", ONE, "paced", "akl"),
            _later(
                "C3.filter-short",
                "one pass, half the updates: PACED − hard filter",
                (Contrast(SHORT, ((1.0, "paced-short"), (-1.0, "hard-filter-short"))),),
            ),
            _exploratory(
                "C3.published", "one pass, as published: PACED − hard filter", PUBLISHED, "paced-published", "hard-filter-published"
            ),
            _exploratory("C3.self-akl-rollouts", "self-distillation: PACED − AKL on rollouts", SELF, "paced", "akl-rollouts"),
            _exploratory("C3.self-akl-references", "self-distillation: PACED − AKL on references", SELF, "paced", "akl-references"),
            _exploratory("C3.self-filter", "self-distillation: PACED − hard filter", SELF, "paced", "hard-filter"),
        ),
        2,
    ),
    Claim(
        "C4",
        "PACED forgets less (equal updates)",
        (
            difference("C4.one-pass", "one pass, retention: PACED − unweighted", ONE, "paced", "uniform", "retention"),
            _exploratory("C4.bayes", "one pass, retention: PACED (empirical Bayes) − unweighted", ONE, "paced-eb", "uniform", "retention"),
            _exploratory("C4.self", "self-distillation, retention: PACED − unweighted", SELF, "paced", "uniform", "retention"),
        ),
        2,
    ),
    Claim(
        "C5",
        "forward KL, then reverse KL, is best",
        (
            _both(
                "C5.schedules",
                "forward–reverse − forward–forward, and − reverse–reverse (the smaller)",
                _ORDER,
                "forward-reverse",
                "forward-forward",
                "reverse-reverse",
            ),
        ),
        2,
    ),
    Claim(
        "C6",
        "reverse KL first is worse than forward KL first",
        (difference("C6.order", "forward–reverse − reverse–forward", _ORDER, "forward-reverse", "reverse-forward"),),
        2,
    ),
    Claim(
        "C7",
        "half of the updates for each KL is best",
        (_both("C7.share", "50 % − 25 %, and 50 % − 75 % (the smaller)", _SHARE, "forward-reverse", "25", "75"),),
        2,
    ),
    Claim(
        "C8",
        "eight rollouts suffice, against 16",
        (
            Hypothesis(
                "C8.suffices", f"K = 8 − K = 16 + {MARGIN:g} point, plug-in", within_margin(_ROLLOUTS, "k8-plugin", ("k16-plugin",))
            ),
            _exploratory("C8.bayes", "K = 8, empirical Bayes − plug-in", _ROLLOUTS, "k8-eb", "k8-plugin"),
            _later("C8.four-plugin", f"K = 4 − K = 8 + {MARGIN:g} point, plug-in", within_margin(_ROLLOUTS, "k4-plugin", ("k8-plugin",))),
            Hypothesis(
                "C8.four",
                f"K = 4, empirical Bayes − K = 8, plug-in, + {MARGIN:g} point",
                within_margin(_ROLLOUTS, "k4-eb", ("k8-plugin",)),
                primary=False,
            ),
        ),
        2,
    ),
    Claim(
        "C9",
        "α = β = 1 is a good default",
        (
            Hypothesis(
                "C9.default",
                f"α = β = 1 − any other pair + {MARGIN:g} point (the smallest)",
                within_margin(_EXPONENTS, "a1-b1", _OTHER_EXPONENTS),
            ),
            _later(
                "C9.insensitive",
                f"any other pair − α = β = 1 + {MARGIN:g} point (the smallest)",
                tuple(Contrast(_EXPONENTS, ((1.0, other), (-1.0, "a1-b1")), margin=MARGIN) for other in _OTHER_EXPONENTS),
            ),
        ),
        2,
    ),
    Claim(
        "C10",
        "recomputing pass rates helps",
        (difference("C10.quarter", "recomputed every quarter − never", "recomputation-one-pass", "quarter", "never"),),
        2,
    ),
    Claim(
        "C11",
        "C2 holds for another architecture",
        (difference("C11.llama", "Llama, one pass: PACED − unweighted", "llama-one-pass", "paced", "uniform"),),
        2,
    ),
    Claim(
        "R",
        "PACED gains more in one pass than in many of twice the updates",
        (
            _change(
                "R.regime",
                "(PACED − unweighted) over one pass, less the same over many passes at twice the updates",
                "2",
                primary=True,
            ),
            _change(
                "R.equal-updates", "(PACED − unweighted) over one pass, less the same over many passes at equal updates", "1", primary=False
            ),
        ),
        2,
        "PACED gains more over no weighting where no problem is visited twice than where problems are visited many times",
    ),
    Claim(
        "A",
        "weights by the effect on accuracy beat p(1−p)",
        (
            difference("A.aligned", "one pass: aligned − PACED", ONE, "aligned", "paced"),
            _exploratory("A.uniform", "one pass: aligned − unweighted", ONE, "aligned", "uniform"),
            _exploratory("A.fitted", "one pass: fitted − PACED", _KERNELS, "fitted", "paced"),
            _exploratory("A.self", "self-distillation: aligned − PACED", SELF, "aligned", "paced"),
        ),
        2,
        "weights by how well a problem's gradient points to more accuracy on other problems beat p(1−p)",
    ),
    Claim(
        "E",
        "empirical Bayes beats the plug-in",
        (_exploratory("E.bayes", "one pass: PACED, empirical Bayes − plug-in", ONE, "paced-eb", "paced"),),
        2,
        "the weight's expectation under a prior fitted to all counts beats its plug-in value",
    ),
)
