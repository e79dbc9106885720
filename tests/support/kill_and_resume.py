"""Run the rollout command in children that are killed with SIGKILL as they go, then to the end.

    python -m tests.support.kill_and_resume SEED KILLS ARGUMENTS...

The children are forked from one process that has imported everything, so that a kill costs no start-up. Prints how many were killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from paced_exp import rollout
from paced_exp.grading import grader as grading
from paced_exp.models.loading import load_model
from tests.support.graders import LengthGrader


def child(argv: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        rollout.main(argv)
        sys.stdout.flush()
        os._exit(0)
    return pid


def main() -> None:
    seed, kills, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    grading.Grader = LengthGrader
    out = Path(argv[argv.index("--out") + 1])

    def size() -> int:
        """Of all journals: a run that stops early has several."""
        return sum(journal.stat().st_size for journal in out.glob("rollouts*.jsonl"))

    load_model(argv[argv.index("--student") + 1])  # imports what loading imports
    rng, killed = random.Random(seed), 0
    for _ in range(kills):
        before = size()
        pid = child(argv)
        # Some are killed while they load, the others once they have written something new.
        if rng.random() < 0.7:
            deadline = time.monotonic() + 20
            while size() <= before and not (out / "record.json").exists() and time.monotonic() < deadline:
                time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    status = os.waitpid(child(argv), 0)[1]
    print("killed", killed, flush=True)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
