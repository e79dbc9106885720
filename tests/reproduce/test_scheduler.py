"""Tasks run side by side in processes of their own; one that fails, crashes or is killed costs itself and what needs it."""

import fcntl
import functools
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.reproduce.scheduler import Schedule, Task


def touch(path: Path, needs: tuple[Path, ...] = ()) -> None:
    assert all(need.exists() for need in needs)
    path.write_text(os.environ.get("OMP_NUM_THREADS", ""))


def refuse(path: Path) -> None:
    raise UserError(f"{path} cannot be")


def crash(path: Path) -> None:
    raise RuntimeError("broken inside")


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(path: Path) -> None:
    began = path.with_suffix(".began")
    began.with_suffix(".new").write_text(str(os.getpid()))
    began.with_suffix(".new").rename(began)
    time.sleep(120)


def count(path: Path) -> None:
    """One line a run: two schedules at once must not interleave."""
    if path.exists():
        return
    time.sleep(0.5)
    with path.open("a") as file:
        file.write("ran\n")


def task(folder: Path, name: str, work: object, *, after: tuple[str, ...] = ()) -> Task:
    return Task(name, functools.partial(work, folder / name), 1.0, folder / "logs" / f"{name}.log", after)  # type: ignore[operator]


def quiet(schedule: Schedule) -> None:
    pass


def test_dependents_wait_and_threads_are_set(tmp_path: Path) -> None:
    first = task(tmp_path, "first", touch)
    second = Task(
        "second", functools.partial(touch, tmp_path / "second", (tmp_path / "first",)), 1.0, tmp_path / "logs" / "s.log", ("first",)
    )
    states: list[int] = []
    schedule = Schedule([second, first], jobs=2, threads=3, preload=[])
    before = os.environ.get("OMP_NUM_THREADS")
    assert schedule.run(lambda state: states.append(len(state.done)))
    assert (tmp_path / "second").read_text() == "3" and os.environ.get("OMP_NUM_THREADS") == before
    assert states[0] == 0 and states[-1] == 2 and schedule.seconds_left == 0


def test_a_failure_costs_itself_and_what_needs_it(tmp_path: Path) -> None:
    tasks = [
        task(tmp_path, "refused", refuse),
        task(tmp_path, "crashed", crash),
        task(tmp_path, "killed", die),
        task(tmp_path, "needs", touch, after=("killed",)),
        task(tmp_path, "well", touch),
    ]
    schedule = Schedule(tasks, jobs=3, threads=None, preload=[])
    assert not schedule.run(quiet)
    assert set(schedule.done) == {"well"} and (tmp_path / "well").exists() and not (tmp_path / "needs").exists()
    reasons = schedule.failed
    assert f"{tmp_path / 'refused'} cannot be" in reasons["refused"] and "refused.log" in reasons["refused"]
    assert "RuntimeError: broken inside" in reasons["crashed"]
    assert "killed by signal 9" in reasons["killed"]
    assert reasons["needs"] == "not run, because it needs killed, which failed"
    assert "Traceback" in (tmp_path / "logs" / "crashed.log").read_text()


def test_the_deadline_stops_what_runs(tmp_path: Path) -> None:
    schedule = Schedule([task(tmp_path, "long", sleep), task(tmp_path, "never", touch)], jobs=1, threads=None, preload=[])
    began = time.monotonic()
    assert not schedule.run(quiet, began + 4)
    assert time.monotonic() - began < 30 and not schedule.failed and not (tmp_path / "never").exists()
    assert (tmp_path / "long.began").exists() and schedule.running == []


def test_two_commands_do_not_run_a_task_twice(tmp_path: Path) -> None:
    import threading

    schedules = [Schedule([task(tmp_path, "one", count)], jobs=1, threads=None, preload=[]) for _ in range(2)]
    threads = [threading.Thread(target=schedule.run, args=(quiet,)) for schedule in schedules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "one").read_text() == "ran\n"
    assert all(set(schedule.done) == {"one"} for schedule in schedules)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_task_outlives_a_killed_command(tmp_path: Path, how: signal.Signals) -> None:
    command = multiprocessing.get_context("spawn").Process(target=run_sleeper, args=(tmp_path,))
    command.start()
    began = tmp_path / "sleeper.began"
    deadline = time.monotonic() + 60
    while not began.exists():
        assert time.monotonic() < deadline, "the task did not begin"
        time.sleep(0.05)
    assert command.pid is not None
    os.kill(command.pid, how)
    command.join()
    # The lock is held for as long as the task's process lives.
    with (tmp_path / "logs" / "sleeper.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline, f"the task (process {began.read_text()}) outlives its command"
                time.sleep(0.05)


def run_sleeper(folder: Path) -> None:
    Schedule([task(folder, "sleeper", sleep)], jobs=1, threads=None, preload=[]).run(quiet)


def test_no_jobs_are_refused() -> None:
    with pytest.raises(UserError, match="`jobs` 0 must be at least 1"):
        Schedule([], jobs=0, threads=None, preload=[])
