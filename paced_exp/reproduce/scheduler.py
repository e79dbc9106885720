"""Running tasks side by side, each in a process of its own: a crash or a kill costs the task it hits and nothing else.

Processes are forked from a server that has imported everything once. Each task is guarded by a lock on a file, so that two commands on the
same folders do not run the same task twice.
"""

import fcntl
import multiprocessing
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError

USER_ERROR = 2
BUSY = 75  # another command is at the task; it is tried again, and finds the work done
_POLL = 0.1
_AGAIN = 5.0  # seconds until a busy task is tried again


@dataclass(frozen=True)
class Task:
    """work(): what is done in the process; it must be picklable. name: shown to the user. cost: estimated seconds. after: names of the
    tasks that must have succeeded. log: what the process prints, with its traceback."""

    name: str
    work: Callable[[], None]
    cost: float
    log: Path
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A task that failed, with the one line that says why."""

    task: str
    reason: str


class Schedule:
    """Runs tasks, `jobs` at a time, longest-waiting first; `on_change(done, running, failed)` is called as they start and end."""

    def __init__(self, tasks: Sequence[Task], *, jobs: int, threads: int | None, preload: Sequence[str]) -> None:
        if jobs < 1:
            raise UserError(f"--jobs {jobs} must be at least 1")
        self._waiting = list(tasks)
        self._jobs = jobs
        self._threads = threads
        self._running: dict[str, tuple[Task, Any]] = {}
        self.done: dict[str, Task] = {}
        self.failed: dict[str, Failure] = {}
        self._not_before: dict[str, float] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))

    def run(self, on_change: Callable[["Schedule"], None], deadline: float | None = None) -> bool:
        """Run all; True when nothing is left. deadline: of `time.monotonic`, at which running tasks are stopped, to be resumed another time."""
        on_change(self)
        try:
            with _environment(self._threads):
                while self._waiting or self._running:
                    if deadline is not None and time.monotonic() >= deadline:
                        return False
                    if self._collect() | self._start():
                        on_change(self)
                    time.sleep(_POLL)
        finally:
            self._stop()
        return not self.failed

    @property
    def running(self) -> list[str]:
        """Names of the tasks under way."""
        return list(self._running)

    @property
    def seconds_left(self) -> float:
        """Estimated, on the jobs there are, a task under way counting half."""
        left = sum(task.cost for task in self._waiting) + 0.5 * sum(task.cost for task, _ in self._running.values())
        return left / self._jobs

    def _start(self) -> bool:
        started = False
        for task in list(self._waiting):
            if broken := next((name for name in task.after if name in self.failed), None):
                self._waiting.remove(task)
                self.failed[task.name] = Failure(task.name, f"not run, because it needs {broken}, which failed")
                started = True
            elif len(self._running) < self._jobs and self._ready(task):
                self._waiting.remove(task)
                process = self._context.Process(target=_guarded, args=(task, self._threads), name=task.name)
                process.start()
                self._running[task.name] = task, process
                started = True
        return started

    def _ready(self, task: Task) -> bool:
        return all(name in self.done for name in task.after) and time.monotonic() >= self._not_before.get(task.name, 0.0)

    def _collect(self) -> bool:
        ended = [(task, process) for task, process in self._running.values() if process.exitcode is not None]
        for task, process in ended:
            del self._running[task.name]
            process.join()
            if process.exitcode == 0:
                self.done[task.name] = task
            elif process.exitcode == BUSY:
                self._not_before[task.name] = time.monotonic() + _AGAIN
                self._waiting.append(task)
            else:
                self.failed[task.name] = Failure(task.name, _reason(process.exitcode, task.log))
        return bool(ended)

    def _stop(self) -> None:
        for _, process in self._running.values():
            process.kill()  # nothing is lost: a run resumes from what it has written
        for _, process in self._running.values():
            process.join()
        self._running.clear()


@contextmanager
def _environment(threads: int | None) -> Iterator[None]:
    """The server reads the environment when it starts: libraries that fix their threads on import must see the number there."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    if threads is not None:
        os.environ.update(dict.fromkeys(names, str(threads)))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _guarded(task: Task, threads: int | None) -> None:
    """In the task's process: everything printed goes to its log, and how it ended is the exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task.log.parent.mkdir(parents=True, exist_ok=True)
    log = task.log.open("a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    lock = task.log.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(BUSY)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        task.work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _end_with_parent() -> None:
    """A command that is killed cannot stop its tasks: each sees that it is gone and stops at once, as a kill would stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _reason(status: int, log: Path) -> str:
    if status < 0:
        return f"killed by signal {-status}; run the same command again, it goes on where it was (log: {log})"
    lines = [line for line in re.split(r"[\r\n]+", log.read_text(errors="replace")) if line.strip()]
    return f"{lines[-1].removeprefix('error: ')[:400] if lines else 'no output'} (log: {log})"
