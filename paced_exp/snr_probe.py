"""The gradient-SNR probe: is the cross-problem gradient SNR a bell over the student's pass rate?

    python -m paced_exp.snr_probe                                   # lab models, 100 problems a bin, minutes on a laptop
    python -m paced_exp.snr_probe --student Qwen/Qwen3-1.7B --teacher Qwen/Qwen3-8B --problems hub:open-r1/DAPO-Math-17k-Processed \\
        --teacher-prompt plain --fallback drop --max-new-tokens 8192 --device cuda   # the paper's pair, same code; no worked solutions there
    python -m paced_exp.snr_probe --at-steps 1,20 --method paced    # both panels of figure 2: before the first and the twentieth update
    python -m paced_exp.snr_probe --against accuracy                # also what a step on each problem does to accuracy on other problems
    python -m paced_exp.snr_probe --fresh-rollouts 100 --per-bin 1250 --family-share 0.25 --max-problems 45000   # ranges down to [0, 0.01)

It rolls out the student until every pass-rate bin is full, makes the teacher's references, computes one gradient for each problem, and estimates.
Writes record.json, the curve (snr_curve.pdf, .png) and the cosines of the bins' gradients (gram.pdf, .png) into --out; with --against accuracy also
accuracy_curve and weights.jsonl, for `python -m paced_exp.distill --weights`. After a kill, the same command continues.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.probe.config import ProbeConfig


def probe(config: ProbeConfig) -> list[Path]:
    """Run (or resume) the probe before every update of `config.at_steps`, print the table and draw the figures. Returns their files.

    There are no figures if all bins are empty. Raises `UserError` for anything that the user can fix.
    """
    from paced_exp.probe.accuracy_figure import plot_accuracy
    from paced_exp.probe.accuracy_table import accuracy_table
    from paced_exp.probe.at_steps import run_at_steps
    from paced_exp.probe.figure import plot_snr
    from paced_exp.probe.gram_figure import plot_gram
    from paced_exp.probe.run import run_probe
    from paced_exp.probe.table import table

    if config.at_steps == "1":
        record = run_probe(config)
        panels = [record]
        print(table(record))
    else:
        record = run_at_steps(config)
        panels = record["steps"]
        for panel in panels:
            print(f"before update {panel['step']}:\n{table(panel)}")
    figures = plot_gram(record, config.out) + plot_snr(record, config.out) if all(panel["bins"] for panel in panels) else []
    if config.against == "accuracy":
        for panel in panels:
            print((f"before update {panel['step']}, " if "step" in panel else "") + accuracy_table(panel))
        figures += plot_accuracy(record, config.out)
    return figures


@configs.command(ProbeConfig, "paced_exp.snr_probe", "Gradient SNR against the student's pass rate.")
def main(config: ProbeConfig) -> None:
    """Run the probe, and print the table and the files of the figures."""
    for path in probe(config):
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
