"""Efficiency of the plug-in and the posterior weight against the number of rollouts K.

python -m figures.theory_efficiency [--out figures/out]
"""

from pathlib import Path

from figures.command import run
from paced_exp.plotting.style import COLORS, LINES, MARKERS, new_figure, save_figure
from paced_theory.estimation import efficiency_table

NAME = "theory_efficiency"
ROLLOUTS = (1, 2, 4, 8, 16, 32, 64)
HARD = (0.5, 1.5)
CAPTION = f"""
Efficiency of weights made from k of K rollouts against the weight p(1-p) of the true pass rate, by exact binomial sums (1 is the oracle). Left: p
uniform. The plug-in weight (k/K)(1 - k/K) wastes every problem with k = 0 or k = K; the posterior weight (k+1)(K-k+1)/((K+2)(K+3)) does not,
and with 4 rollouts it beats the plug-in with 8 (dotted). Right: many hard problems, p ~ Beta{HARD}. The posterior under a wrong, uniform prior
still beats the plug-in; under the true prior, which empirical Bayes approaches, it is the best function of k there is.
"""


def draw(out: Path) -> list[Path]:
    """Draw both laws of p into out/."""
    figure, axes = new_figure("double", 2.6, ncols=2, sharey=True)
    for axis, law, title in ((axes[0], (1.0, 1.0), "p uniform"), (axes[1], HARD, f"p ~ Beta{HARD}")):
        rows = efficiency_table(ROLLOUTS, law)
        curves = [
            ("plug-in", [row.plugin for row in rows], "orange"),
            ("posterior, uniform prior", [row.posterior for row in rows], "blue"),
        ]
        if law == HARD:
            curves.append(("posterior, true prior", [row.best for row in rows], "green"))
        for number, (label, values, color) in enumerate(curves):
            axis.plot(ROLLOUTS, values, color=COLORS[color], linestyle=LINES[number], marker=MARKERS[number], label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(ROLLOUTS, [str(K) for K in ROLLOUTS])
        axis.set(xlabel="rollouts per problem K", title=title)
        axis.legend(loc="lower right")
    uniform = {row.K: row for row in efficiency_table((4, 8))}
    axes[0].plot([4, 8], [uniform[4].posterior] * 2, color=COLORS["black"], linestyle=LINES[3])
    axes[0].annotate(f"{uniform[4].posterior:.3f} > {uniform[8].plugin:.3f}", (8, uniform[8].plugin), (8.5, 0.78), fontsize=7)
    axes[0].set(ylabel="efficiency", ylim=(0.3, 1.03))
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
