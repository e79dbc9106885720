"""A distributed distillation on the tiny models in two processes, which with --sharded have a part of the student each (FSDP2).

python -m tests.support.two_processes ARGUMENTS... [--kill-at UPDATE] [--sharded]
"""

import json
import sys

import torch

import paced_exp.distill as distill
from paced_exp.grading import grader as grading
from paced_exp.models.loading import load_model
from tests.support import fsdp_on_cpu
from tests.support.forked_ranks import run_ranks
from tests.support.graders import HashGrader
from tests.support.kill_distill import at_micro_batch

if __name__ == "__main__":
    torch.set_num_threads(1)
    grading.Grader = HashGrader  # type: ignore[assignment, misc]
    argv = sys.argv[1:]
    if "--kill-at" in argv:  # both processes, before a micro-batch of that update
        at = argv.index("--kill-at")
        at_micro_batch(int(argv[at + 1]), 0)()
        argv = argv[:at] + argv[at + 2 :]
    if "--sharded" in argv:
        fsdp_on_cpu.allow()
        argv.remove("--sharded")
        argv += ["--training-arguments", json.dumps(fsdp_on_cpu.ARGUMENTS)]
    load_model(argv[argv.index("--student") + 1])  # imports what loading imports
    run_ranks(2, lambda: distill.main(argv))
