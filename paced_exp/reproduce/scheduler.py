"""Running tasks side by side, each in a process of its own: a crash or a kill costs the task that it hits and nothing else.

pebble's pool starts the processes, forked from a server that has imported everything once, and reports how each ended. What it does not know
is done here: which tasks must wait for others, that two commands on the same folders must not run a task twice, and when time is up.
"""

import fcntl
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from paced_exp.core.errors import UserError

_POLL = 0.1
_AGAIN = 5.0  # seconds until a task that another command is at is tried again


class InUse(Exception):
    """Another command is at the task."""


@dataclass(frozen=True)
class Task:
    """A task. work: what its process does; it must be picklable. cost: estimated seconds. after: names of the tasks that must have succeeded.

    log: where the process writes what it prints, with the traceback of what failed.
    """

    name: str
    work: Callable[[], None]
    cost: float
    log: Path
    after: tuple[str, ...] = ()


class Schedule:
    """Runs tasks, `jobs` at a time, in their order as far as what they need allows.

    threads: of every process's libraries; None leaves them alone. preload: modules that the processes have in common. done, failed: the tasks
    that ended, by name, failed ones with the line that says why.
    """

    def __init__(self, tasks: Sequence[Task], *, jobs: int, threads: int | None, preload: Sequence[str]) -> None:
        if jobs < 1:
            raise UserError(f"`jobs` {jobs} must be at least 1")
        self.done: dict[str, Task] = {}
        self.failed: dict[str, str] = {}
        self._waiting = list(tasks)
        self._running: dict[Future[None], Task] = {}
        self._not_before: dict[str, float] = {}
        self._jobs, self._threads, self._preload = jobs, threads, preload

    def run(self, on_change: Callable[["Schedule"], None], deadline: float | None = None) -> bool:
        """Run all, calling `on_change` as tasks start and end; True when nothing is left.

        deadline: of `time.monotonic`, at which running tasks are stopped, to be resumed another time.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self._preload))
        on_change(self)
        with _environment(self._threads):
            # A process for each task: what one leaves behind in memory or in its libraries cannot reach the next.
            pool = ProcessPool(max_workers=max(1, min(self._jobs, len(self._waiting))), max_tasks=1, context=context)
            try:
                while self._waiting or self._running:
                    if deadline is not None and time.monotonic() >= deadline:
                        return False
                    if self._start(pool) | self._collect():
                        on_change(self)
            finally:
                pool.stop()  # type: ignore[no-untyped-call]  # nothing is lost: a run resumes from what it has written
                pool.join()
                self._running.clear()
        return not self.failed

    @property
    def running(self) -> list[str]:
        """Names of the tasks under way."""
        return [task.name for task in self._running.values()]

    @property
    def seconds_left(self) -> float:
        """Estimated, on the jobs there are, a task under way counting half."""
        left = sum(task.cost for task in self._waiting) + 0.5 * sum(task.cost for task in self._running.values())
        return left / self._jobs

    def _start(self, pool: ProcessPool) -> bool:
        """Start what can be; whether anything changed."""
        before = len(self._waiting)
        for task in list(self._waiting):
            if broken := next((name for name in task.after if name in self.failed), None):
                self._waiting.remove(task)
                self.failed[task.name] = f"not run, because it needs {broken}, which failed"
            elif len(self._running) < self._jobs and self._ready(task):
                self._waiting.remove(task)
                self._running[pool.schedule(_in_process, (task, self._threads))] = task
        return len(self._waiting) < before

    def _ready(self, task: Task) -> bool:
        return all(name in self.done for name in task.after) and time.monotonic() >= self._not_before.get(task.name, 0.0)

    def _collect(self) -> bool:
        """Wait a moment for tasks to end; whether one did."""
        if not self._running:
            time.sleep(_POLL)
        ended = wait(self._running, _POLL, FIRST_COMPLETED).done
        for future in ended:
            task, error = self._running.pop(future), future.exception()
            if error is None:
                self.done[task.name] = task
            elif isinstance(error, InUse):
                self._not_before[task.name] = time.monotonic() + _AGAIN
                self._waiting.append(task)
            else:
                self.failed[task.name] = f"{_reason(error)} (log: {task.log})"
        return bool(ended)


@contextmanager
def _environment(threads: int | None) -> Iterator[None]:
    """The server reads the environment when it starts: libraries that fix their threads on import must see the number there."""
    before = dict(os.environ)
    if threads is not None:
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _in_process(task: Task, threads: int | None) -> None:
    """Do the task in its process, everything printed going to its log. Raises `InUse` where another command is at it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task.log.parent.mkdir(parents=True, exist_ok=True)
    log = task.log.open("a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    lock = task.log.with_suffix(".lock").open("w")  # held until the task ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(task.name) from None
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        task.work()
    except Exception as error:
        traceback.print_exc()
        # Not every exception survives the way to the parent; its words do.
        raise UserError(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}") from None


def _end_with_parent() -> None:
    """A command that is killed cannot stop its tasks: each sees that it is gone and stops at once, as a kill would stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _reason(error: BaseException) -> str:
    if isinstance(error, ProcessExpired):
        how = f"killed by signal {-error.exitcode}" if error.exitcode < 0 else f"ended with status {error.exitcode}"
        return f"{how}; run the same command again, it goes on where it was"
    return str(error)[:400]
