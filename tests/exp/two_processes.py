"""A distributed distillation on the tiny models in two processes: `two_processes.py ARGUMENTS...`."""

import sys

import torch
from forked_ranks import run_ranks
from kill_probe import HashGrader

from paced_exp import distill
from paced_exp.grading import grader as grading
from paced_exp.models.loading import load_model

if __name__ == "__main__":
    torch.set_num_threads(1)
    grading.Grader = HashGrader  # type: ignore[assignment, misc]
    load_model(sys.argv[sys.argv.index("--student") + 1])  # imports what loading imports
    run_ranks(2, lambda: distill.main(sys.argv[1:]))
