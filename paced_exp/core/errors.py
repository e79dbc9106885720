"""Errors that the user can mend: a command prints one line without a traceback and ends with exit status 2."""

import errno
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager


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
    """Run an entry point. A `UserError` or a full disk gives one line on stderr and exit status 2, Ctrl-C exit status 130.

    Any other exception is a defect of this package and keeps its traceback.
    """
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
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
