"""What a user can mend is one line and exit status 2; what is a defect keeps its traceback."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from paced_exp.core.errors import UserError, exit_cleanly


def status_and_lines(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(main)
    captured = capsys.readouterr()
    assert captured.out == "" and isinstance(stopped.value.code, int)
    return stopped.value.code, captured.err.splitlines()


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_a_user_error_is_one_line_whatever_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    error = UserError("--problems x.jsonl: line 3\n  has   no\tanswer")
    assert status_and_lines(raising(error), capsys) == (2, ["error: --problems x.jsonl: line 3 has no answer"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = status_and_lines(raising(OSError(code, "full", "runs/x/record.json")), capsys)
    assert status == 2 and len(lines) == 1
    assert lines[0].startswith("error: the disk is full while writing runs/x/record.json; free some space")
    assert status_and_lines(raising(OSError(code, "full")), capsys)[1][0].startswith("error: the disk is full; free")


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        signal.raise_signal(signal.SIGINT)

    # A shell starts background jobs with the signal ignored, and tests may run in one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert status_and_lines(main, capsys) == (130, ["interrupted; run the same command again to continue"])
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("error", [ValueError("a defect"), OSError(errno.EIO, "input/output error"), AssertionError()])
def test_a_defect_is_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        exit_cleanly(raising(error))
    assert raised.value is error


def test_a_broken_pipe_that_is_not_the_output_s_is_a_defect() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            exit_cleanly(lambda: os.write(writer, b"x") and None)
    finally:
        os.close(writer)


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("body", ["print('x' * size)", "print('x' * size, flush=True)", "print('x'); raise SystemExit(0)"])
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_output_that_nobody_reads_ends_a_command_quietly(body: str, size: int, stream: int) -> None:
    body = body if stream == 1 else "import sys; sys.stdout = sys.stderr; " + body
    program = f"from paced_exp.core.errors import exit_cleanly\nsize = {size}\ndef main():\n    {body}\nexit_cleanly(main)"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, ("stdout", "stderr")[stream - 1]: writer}
        done = subprocess.run([sys.executable, "-c", program], **streams, text=True, check=False)
    finally:
        os.close(writer)
    assert done.returncode == 141 and not (done.stderr or done.stdout)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_on_a_full_disk_is_one_line() -> None:
    program = "from paced_exp.core.errors import exit_cleanly\nexit_cleanly(lambda: print('x'))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 2 and done.stderr == "error: the output cannot be written (No space left on device); free some space\n"


def test_success_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    exit_cleanly(lambda: None)
    assert capsys.readouterr() == ("", "")
