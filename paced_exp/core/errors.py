"""Errors that the user can mend: a command prints one line without a traceback and ends with exit status 2."""

import errno
import os
import re
import select
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from paced_exp.core.extras import install, missing_package

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


class UserError(ValueError):
    """An error that the user can mend. Its message is one line: the argument or file, its value, what is allowed, and the fix.

    Arguments are named in backticks as in Python, for example `max_new_tokens`. Commands name them as flags (`in_flags`).
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def in_flags(self, options: Collection[str]) -> "UserError":
        """The same error with every argument of `options` named as people type it: --max-new-tokens for `max_new_tokens`, and -K for `K`."""
        return self.renamed({name: flag_of(name) for name in options})

    def renamed(self, names: Mapping[str, str]) -> "UserError":
        """The same error with the text `names[name]` in place of every argument `name` in backticks."""
        return UserError(re.sub(r"`([A-Za-z]\w*)`", lambda name: names.get(name[1], name[0]), str(self)))


@contextmanager
def renaming(names: Mapping[str, str]) -> Iterator[None]:
    """Rename the arguments in a `UserError` from within (`UserError.renamed`): for options that the user gave under other names."""
    try:
        yield
    except UserError as error:
        raise error.renamed(names) from error


def flag_of(name: str) -> str:
    """The command-line flag of an option."""
    return "-K" if name == "K" else f"--{name.replace('_', '-')}"


def exit_cleanly(main: Callable[[], None]) -> None:
    """Run an entry point. A `UserError`, a full disk or a package that is not installed gives one line on stderr and exit status 2, Ctrl-C exit status 130.

    Where nobody reads the output any more (`paced weights FILE | head -1`), it ends without a word, with the status of a program that SIGPIPE ends.
    Any other exception is a defect of this package and keeps its traceback.
    """
    try:
        try:
            _exit_in_one_line(main)
        finally:
            _flush()
    except BrokenPipeError:
        if not (unread := _unread()):
            raise  # of another pipe, such as a worker's
        _discard(unread)
        sys.exit(_BROKEN_PIPE)


def _flush() -> None:
    """Write what print has kept, while an error can still be caught: at the interpreter's end it cannot."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard([1])
        print(f"error: the output cannot be written ({error.strerror or error}); free some space", file=sys.stderr)
        sys.exit(2)


def _discard(streams: Iterable[int]) -> None:
    """Write to these streams no more, nor what they still keep."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _unread() -> list[int]:
    """Which of stdout and stderr are pipes without a reader."""
    streams = select.poll()
    for stream in (1, 2):
        streams.register(stream, 0)
    return [stream for stream, event in streams.poll(0) if event & (select.POLLERR | select.POLLHUP)]


def _exit_in_one_line(main: Callable[[], None]) -> None:
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        print(f"error: the disk is full{where}; free some space and run the same command again, finished work is kept", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (missing := missing_package(error)) is None:
            raise
        print(f"error: this command needs {missing}, which is not installed; run: {install('run')}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
