"""The workers that grade: hostile answers, workers that hang, die or cannot start, and what is left when the parent dies."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.grading import pool as grading_pool
from paced_exp.grading.grader import Grader
from paced_exp.grading.pool import WALL_FACTOR, GradingPool
from tests.support.children import gone
from tests.support.grading_setup import boxed, problem

# A busy machine may take so long to start a worker and schedule it; only hangs are longer.
SLACK_SECONDS = 90


class Opened:
    """Its pickle, when read, opens (and so makes) a file."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return open, (self.name, "w")


HOSTILE = {
    "tower, plain": "9**9**9**9",
    "tower, LaTeX": "9^{9^{9^{9}}}",
    "100 kB": "1" * 100_000,
    "100 kB of LaTeX": r"\frac{1}{2}+" * 8_500,
    "braces 10,000 deep": "{" * 10_000 + "}" * 10_000,
    "braces as deep as the cap allows": "{" * 490 + "}" * 490,
    "NUL": "4\x00",
    "invalid UTF-8, as a lone surrogate": b"4\xff".decode("utf-8", "surrogateescape"),
    "invalid UTF-8, as the replacement character": b"4\xff".decode("utf-8", "replace"),
    "integral": r"\int_0^1 e^{e^{x^{x}}} dx",
    "huge factorial": "1000000000!",
}


def test_hostile_answers_are_wrong_within_the_limit_and_leave_the_grader_usable(capfd):
    limit = 0.5
    problems, responses = [problem("4")] * (len(HOSTILE) + 2), [boxed("4"), *map(boxed, HOSTILE.values()), boxed("4")]
    with Grader(time_limit=limit) as grader:
        grader.grade(problems[:1], [boxed("5")])
        began = time.monotonic()
        assert grader.grade(problems, responses) == [True, *[False] * len(HOSTILE), True]
        assert time.monotonic() - began < len(HOSTILE) * limit * WALL_FACTOR + SLACK_SECONDS
        assert grader.grade(problems[:2], [boxed("4"), boxed("5")]) == [True, False]
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "frac" not in captured.err and "9^" not in captured.err  # model output must not reach the terminal through a library's log


def test_a_runaway_grading_is_counted_as_timed_out_and_its_worker_replaced():
    with GradingPool(1, cpu_seconds=0.3, memory_bytes=1 << 30) as pool:
        pool.verify([("4", "4")])
        first = pool._workers[0].process
        assert pool.verify([("4", "9^{9^{9^{9}}}"), ("4", "4")]) == [False, True]
        assert (pool.timed_out, pool.died) == (1, 0)
        assert first.returncode in (-signal.SIGPROF, -signal.SIGKILL)
        assert pool._workers[0].process.pid != first.pid


def test_the_parent_kills_a_worker_that_neither_answers_nor_uses_cpu():
    with GradingPool(1, cpu_seconds=0.5, memory_bytes=1 << 30) as pool:
        pool.verify([("4", "4")])
        stopped = pool._workers[0].process
        os.kill(stopped.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert pool.verify([("4", "4")]) == [False]
        assert 0.5 * WALL_FACTOR <= time.monotonic() - began < 0.5 * WALL_FACTOR + SLACK_SECONDS
        assert (pool.timed_out, stopped.returncode) == (1, -signal.SIGKILL)
        assert pool.verify([("4", "4")]) == [True]


def test_an_item_whose_worker_is_killed_by_others_is_graded_by_another():
    with GradingPool(1, cpu_seconds=5, memory_bytes=1 << 30) as pool:
        pool.verify([("4", "4")])
        pool._workers[0].process.kill()
        assert pool.verify([("4", "4")]) == [True]
        pid = pool._workers[0].process.pid
        os.kill(pid, signal.SIGSTOP)
        killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
        killer.start()
        assert pool.verify([("4", "4"), ("5", "6")]) == [True, False]
        killer.join()
        assert (pool.timed_out, pool.died) == (0, 0)


def test_an_item_that_ends_every_worker_is_wrong_and_the_others_are_graded(monkeypatch, tmp_path):
    script = (
        "import os, sys\nos.write(1, b'ready\\n')\nfor line in sys.stdin:\n    os.write(1, b'true\\n') if 'good' in line else sys.exit(3)\n"
    )
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(grading_pool, "WORKER", tmp_path / "worker.py")
    with GradingPool(2, cpu_seconds=5, memory_bytes=1 << 30) as pool:
        assert pool.verify([("g", "good"), ("g", "bad"), ("g", "good"), ("g", "bad"), ("g", "good")]) == [True, False, True, False, True]
        assert (pool.timed_out, pool.died) == (0, 2)


@pytest.mark.parametrize(
    "reply",
    [b"true\ntrue\n", b"true", b"\ntrue\n", b"ready\n", b"True\n", pickle.dumps(True), pickle.dumps(Opened("ran")), b"true\n" * 1000],
    ids=["two verdicts", "no end", "a line before", "ready again", "True", "pickled True", "a pickle that runs", "many"],
)
def test_what_is_no_verdict_passes_no_answer_and_runs_nothing(monkeypatch, tmp_path, reply):
    """A worker of which an answer has got hold can send any bytes; the answer fails, and so does no other one."""
    script = (
        f"import os, sys\nos.write(1, b'ready\\n')\nfor line in sys.stdin:\n    os.write(1, {reply!r} if 'evil' in line else b'true\\n')\n"
    )
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(grading_pool, "WORKER", tmp_path / "worker.py")
    monkeypatch.chdir(tmp_path)
    with GradingPool(1, cpu_seconds=5, memory_bytes=1 << 30) as pool:
        assert pool.verify([("g", "good"), ("g", "evil"), ("g", "good"), ("g", "good")]) == [True, False, True, True]
        assert (pool.timed_out, pool.died) == (0, 1)
    assert not (tmp_path / "ran").exists()


def test_an_interrupted_call_leaves_no_stale_verdict(monkeypatch):
    with GradingPool(1, cpu_seconds=5, memory_bytes=1 << 30) as pool:
        pool.verify([("4", "4")])

        def interrupt():
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(pool, "_enforce_deadlines", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.verify([("4", "4")] * 5)
        assert pool.verify([("4", "5"), ("4", "4")]) == [False, True]


def test_workers_have_a_memory_limit():
    code = "import worker; worker.limit_process(1 << 29); bytearray(1 << 28); print('ok', flush=True); bytearray(1 << 29)"
    folder = str(Path(grading_pool.__file__).parent)
    done = subprocess.run([sys.executable, "-P", "-c", f"import sys; sys.path.append({folder!r}); {code}"], capture_output=True, text=True)
    assert done.stdout == "ok\n" and "MemoryError" in done.stderr


def test_workers_end_with_the_grader_and_with_a_killed_parent():
    with Grader(workers=2) as grader:
        grader.grade([problem("4")] * 4, [boxed(str(number)) for number in range(4)])
        processes = [worker.process for worker in grader._pool._workers]
        assert len(processes) == 2
    assert all(process.returncode is not None for process in processes)
    code = (
        "import os, signal\n"
        "from paced_exp.grading.pool import GradingPool\n"
        "pool = GradingPool(1, 5.0, 1 << 30)\n"
        "pool.verify([('4', '4')])\n"
        "print(pool._workers[0].process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    worker, deadline = int(done.stdout), time.monotonic() + SLACK_SECONDS
    while not gone(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(worker)


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "print('something else', flush=True)"])
def test_a_worker_that_cannot_start_is_one_clear_error(monkeypatch, tmp_path, script):
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(grading_pool, "WORKER", tmp_path / "worker.py")
    with GradingPool(2, cpu_seconds=1, memory_bytes=1 << 30) as pool, pytest.raises(UserError, match="grading worker did not start"):
        pool.verify([("4", "4")])


def test_too_little_memory_to_start_is_one_clear_error():
    with Grader(memory_limit=40 << 20) as grader, pytest.raises(UserError, match="40 MiB of address space"):
        grader.grade([problem("4")], [boxed("4")])
