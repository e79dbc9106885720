"""The ranks of a distributed job as forks of one process that has imported everything: no launcher, no import a rank."""

import os
import socket
import sys
from collections.abc import Callable


def run_ranks(count: int, function: Callable[[], object]) -> None:
    """Run `function` in `count` children with the environment that torch.distributed.run would give; exits 1 if one of them fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
            function()
            sys.stdout.flush()
            os._exit(0)
        children.append(pid)
    if any([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]):
        sys.exit(1)
