"""Choose learning rate and number of updates, on the unweighted baseline alone, before any method is compared.

    python -m paced_exp.training.selection                               # distillation: forward KL on the teacher's references
    python -m paced_exp.training.selection --setting self-distillation   # reverse KL on the student's own rollouts, its initial self as teacher

Every pair of a rate and a number of updates trains once with a seed that no comparison uses, and is evaluated on problems that no comparison
uses (drawn with the same seed). Chosen is the pair with the highest plain mean of the sources' accuracies, retention left out.
A record a pair is written into `records`; finished ones are read back.
"""

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.training.selection_grid import SelectionConfig, line


@configs.command(SelectionConfig, "paced_exp.training.selection", "Learning rate and updates, on the unweighted baseline.")
def main(config: SelectionConfig) -> None:
    """Run the grid and print it, the best first."""
    from paced_exp.training.select_rate import select  # torch takes seconds to load, and a bad option should not

    for record in select(config):
        print(line(record))


if __name__ == "__main__":
    exit_cleanly(main)
