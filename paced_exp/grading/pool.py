"""A pool of grading workers: child processes that run math-verify under limits. A worker over a limit is killed and replaced.

The workers are separate interpreters, started by path; they are neither forks nor multiprocessing's processes. They never see the parent's
memory, threads, CUDA context or `__main__` module. So the pool is safe with torch loaded, in a script without a main guard, and under pytest.

Why not a library's pool: pebble 5.2.3, like concurrent.futures, unpickles a worker's replies in the parent. When tried, a worker's own pickle ran
code in the parent. This pool's parent only takes the lines `true` and `false`, so a hostile worker can at worst give wrong verdicts. The price
is small: pebble took 0.92 times as long for 2,000 gradings (median of 16 alternating runs on 2 busy cores, from 0.44 to 1.48).
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from paced_exp.core.errors import UserError

WORKER = Path(__file__).with_name("worker.py")
Pair = tuple[str, str] | tuple[str, str, bool]

STARTUP_SECONDS = 120.0
# The kernel ends a grading after `cpu_seconds` of CPU time. The parent kills a worker after this many times as much wall time.
WALL_FACTOR = 4.0


class _Worker:
    """One child process. It starts, says that it is ready, and is then idle or busy with one item. deadline: of the start or the item."""

    def __init__(self, cpu_seconds: float, memory_bytes: int) -> None:
        # -P: the worker's folder must not shadow top-level modules. sympy's results depend on the order of sets, which the hash seed fixes.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), str(cpu_seconds), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.requests, self.replies = self.process.stdin, self.process.stdout
        self.ready = False
        self.item: int | None = None
        self.deadline = time.monotonic() + STARTUP_SECONDS

    def stop(self) -> int:
        """Kill the process, close its pipes and return its exit status (negative: the signal that ended it)."""
        self.process.kill()
        self.requests.close()
        self.replies.close()
        return self.process.wait()


class GradingPool:
    """Worker processes that decide by `rules` whether an answer equals the gold answer (`verify`).

    workers: the most processes, started when first needed. cpu_seconds: CPU time that a grading may take; its wall time may be `WALL_FACTOR`
    times as long. memory_bytes: address space of a worker. A pair over a time limit counts as wrong (`timed_out` counts them), and so does
    one that ends two workers by memory or a crash (`died`). A pool must not be used from several threads at once.
    """

    def __init__(self, workers: int, cpu_seconds: float, memory_bytes: int) -> None:
        self.size = workers
        self.cpu_seconds = cpu_seconds
        self.memory_bytes = memory_bytes
        self.timed_out = 0
        self.died = 0
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> "GradingPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every worker. The pool can be used again: it then starts new workers."""
        while self._workers:
            self._remove(self._workers[-1])

    def verify(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether each pair's answer is correct.

        pairs: (gold, answer) or (gold, answer, percent), where percent says whether the question speaks of percent. Raises `UserError` if a
        worker cannot start.
        """
        verdicts = [False] * len(pairs)
        pending = deque(range(len(pairs)))
        retried: set[int] = set()
        try:
            while pending or any(worker.item is not None for worker in self._workers):
                self._hand_out(pairs, pending)
                for worker in self._wait():
                    self._receive(worker, verdicts, pending, retried)
                self._enforce_deadlines()
        except BaseException:
            # A worker that was interrupted would answer the next call's first item with this call's verdict.
            self.close()
            raise
        return verdicts

    def _hand_out(self, pairs: Sequence[Pair], pending: deque[int]) -> None:
        """Start as many workers as there are items for, and give every idle worker an item."""
        useful = len(pending) + sum(worker.item is not None for worker in self._workers)
        while len(self._workers) < min(self.size, useful):
            worker = _Worker(self.cpu_seconds, self.memory_bytes)
            self._workers.append(worker)
            self._selector.register(worker.replies, selectors.EVENT_READ, worker)
        for worker in list(self._workers):
            if not pending:
                return
            if worker.ready and worker.item is None:
                item = pending.popleft()
                try:
                    worker.requests.write(json.dumps(pairs[item]).encode() + b"\n")
                except BrokenPipeError:
                    # It died while idle: another worker takes the item.
                    pending.appendleft(item)
                    self._remove(worker)
                    continue
                worker.item = item
                worker.deadline = time.monotonic() + WALL_FACTOR * self.cpu_seconds

    def _wait(self) -> list[_Worker]:
        """Wait for replies, at most until the first deadline. Returns the workers that have replied."""
        deadlines = [worker.deadline for worker in self._workers if worker.item is not None or not worker.ready]
        timeout = max(0.0, min(deadlines, default=time.monotonic()) - time.monotonic())
        return [key.data for key, _ in self._selector.select(timeout)]

    def _receive(self, worker: _Worker, verdicts: list[bool], pending: deque[int], retried: set[int]) -> None:
        reply = os.read(worker.replies.fileno(), 1024)
        if worker.item is not None and reply in (b"true\n", b"false\n"):
            verdicts[worker.item] = reply == b"true\n"
            worker.item = None
        elif not worker.ready and reply == b"ready\n":
            worker.ready = True
        else:
            starting, item = not worker.ready, worker.item
            status = self._remove(worker)
            if starting:
                reason = reply.decode(errors="replace") or f"exit status {status}"
                raise UserError(
                    f"the grading worker did not start ({reason}); it needs math-verify and {self.memory_bytes >> 20} MiB of address space"
                )
            if item is None:
                return
            if status == -signal.SIGPROF:
                self.timed_out += 1
            elif item in retried:
                self.died += 1
            else:
                # Something else may have ended the worker, such as the machine's out-of-memory killer. The item is tried once more.
                retried.add(item)
                pending.appendleft(item)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.deadline > now:
                continue
            if not worker.ready:
                self._remove(worker)
                raise UserError(f"the grading worker did not start within {STARTUP_SECONDS:.0f} s; is the machine overloaded?")
            if worker.item is not None:
                self._remove(worker)
                self.timed_out += 1

    def _remove(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        self._selector.unregister(worker.replies)
        return worker.stop()
