"""One process of a distributed distillation on the tiny models: `two_processes.py ARGUMENTS...`, under torch.distributed.run."""

import sys

import torch
from kill_probe import HashGrader

from paced_exp import distill, grading

if __name__ == "__main__":
    torch.set_num_threads(1)
    grading.Grader = HashGrader  # type: ignore[assignment, misc]
    distill.main(sys.argv[1:])
