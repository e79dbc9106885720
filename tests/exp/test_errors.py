"""What a user can mend is one line and exit status 2; what is a defect keeps its traceback."""

import errno
import signal
from collections.abc import Callable

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


def test_success_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    exit_cleanly(lambda: None)
    assert capsys.readouterr() == ("", "")
