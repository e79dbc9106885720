"""Efficiency of the plug-in and the posterior weight against the number of rollouts K.

python -m figures.theory_efficiency [--out figures/out]
"""

from collections.abc import Mapping
from pathlib import Path

from figures.command import run
from figures.headlines import label, put
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.estimation import EfficiencyRow, efficiency_table

NAME = "theory_efficiency"
ROLLOUTS = (1, 2, 4, 8, 16, 32, 64)
HARD = (0.5, 1.5)
CAPTION = f"""
Efficiency of weights made from k of K rollouts against the weight p(1-p) of the true pass rate, by exact binomial sums (1 is the oracle). Left: p
uniform. The plug-in weight (k/K)(1 - k/K) wastes every problem with k = 0 or k = K; the posterior weight (k+1)(K-k+1)/((K+2)(K+3)) does not,
and with 4 rollouts it beats the plug-in with 8 (dotted). Right: many hard problems, p ~ Beta{HARD}. The posterior under a wrong, uniform prior
still beats the plug-in; under the true prior, which empirical Bayes approaches, it is the best function of k there is.
"""


def headline(rows: Mapping[int, EfficiencyRow]) -> str:
    """The message in two lines: the posterior weight with 4 rollouts beside the plug-in with 8, by exact sums."""
    posterior, plugin = rows[4].posterior, rows[8].plugin
    beats = "beats" if posterior > plugin else "does not beat"
    return (
        f"The posterior weight with 4 rollouts {beats} the usual (plug-in) weight with 8: efficiency {posterior:.3f} and {plugin:.3f},\n"
        "where 1 is the weight of the true pass rate p, and p is uniform"
    )


def draw(out: Path) -> list[Path]:
    """Draw both laws of p into out/."""
    figure, axes = new_figure("double", 2.9, ncols=2, sharey=True)
    for axis, law, title in (
        (axes[0], (1.0, 1.0), "all pass rates alike: p uniform"),
        (axes[1], HARD, f"many hard problems: p ~ Beta{HARD}"),
    ):
        rows = efficiency_table(ROLLOUTS, law)
        curves = [
            ("plug-in", [row.plugin for row in rows], "orange"),
            ("posterior, uniform prior", [row.posterior for row in rows], "blue"),
        ]
        if law == HARD:
            curves.append(("posterior, true prior", [row.best for row in rows], "green"))
        for number, (name, values, color) in enumerate(curves):
            axis.plot(ROLLOUTS, values, color=COLORS[color], linestyle=LINES[number], marker=MARKERS[number], label=name)
        axis.set_xscale("log", base=2)
        axis.set_xticks(ROLLOUTS, [str(K) for K in ROLLOUTS])
        axis.set(xlabel="rollouts per problem K")
        axis.set_title(title, loc="left")
    label(axes[0], (2, 0.40), "plug-in: k/K in place of p", "orange", (8, -2))
    label(axes[0], (2, 0.85), "posterior, uniform prior", "blue", (-30, 19))
    label(axes[1], (2, 0.375), "plug-in", "orange", (8, -2))
    label(axes[1], (2, 0.70), "posterior,\nuniform prior", "blue", (-30, -16))
    label(axes[1], (2, 0.77), "posterior, true prior", "green", (-30, 22))
    uniform = {row.K: row for row in efficiency_table((4, 8))}
    axes[0].plot([4, 8], [uniform[4].posterior] * 2, color=COLORS["black"], linestyle=LINES[3])
    label(axes[0], (8, uniform[8].plugin), f"{uniform[4].posterior:.3f} with 4, {uniform[8].plugin:.3f} with 8", "black", (4, -16))
    axes[0].set(ylabel="efficiency", ylim=(0.3, 1.03))
    put(figure, headline(uniform))
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
