"""Choose the learning rate and the number of updates on the unweighted baseline, before methods are compared.

    python -m paced_exp.training.selection                               # distillation: forward KL on the teacher's references
    python -m paced_exp.training.selection --setting self-distillation   # reverse KL on the student's own rollouts, its initial self as teacher

Every pair of a learning rate and a number of updates is trained once and evaluated, with a seed that no comparison uses. Its evaluation problems are
drawn with that seed from the same families, so that some of the lab's short prompts occur in a comparison's evaluation too. The best pair has the
highest mean of the accuracies on all sources except retention, each source counting the same.
The record of each pair is written into the folder `records`; pairs that have a record are not trained again.
"""

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.training.selection_grid import SelectionConfig, line


@configs.command(
    SelectionConfig, "paced_exp.training.selection", "Choose the learning rate and the number of updates on the unweighted baseline."
)
def main(config: SelectionConfig) -> None:
    """Run the grid and print its records, the best first."""
    from paced_exp.training.select_rate import select  # torch takes seconds to load, and a bad option should not

    for record in select(config):
        print(line(record))


if __name__ == "__main__":
    exit_cleanly(main)
