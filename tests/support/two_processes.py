"""A distributed distillation on the tiny models in two processes: `python -m tests.support.two_processes ARGUMENTS...`."""

import sys

import torch

import paced_exp.distill as distill
from paced_exp.grading import grader as grading
from paced_exp.models.loading import load_model
from tests.support.forked_ranks import run_ranks
from tests.support.graders import HashGrader

if __name__ == "__main__":
    torch.set_num_threads(1)
    grading.Grader = HashGrader  # type: ignore[assignment, misc]
    load_model(sys.argv[sys.argv.index("--student") + 1])  # imports what loading imports
    run_ranks(2, lambda: distill.main(sys.argv[1:]))
