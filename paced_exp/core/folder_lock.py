"""A lock that allows one run at a time in a folder. A command holds it on the file FOLDER/.lock from start to end.

It is the kernel's lock (flock), so a kill frees it. The file says who holds it, for the message to a second run. Child processes do not keep the
lock: programs do not inherit the open file, and forks close it at once.
"""

import errno
import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from paced_exp.core.errors import UserError

NAME = ".lock"
_LONGEST = 4096  # bytes of the file that are read
_TRIES = 100  # to open the file while others remove it
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_held: set[int] = set()


def _close_in_child() -> None:
    # A fork shares the lock. Without this, a child that outlives its killed parent would keep the folder locked.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` during the block. A missing folder is created, and removed again if it is empty at the end.

    Raises `UserError` at once if another run holds the lock, saying which, or if the file system has no locks; `OSError` if the folder cannot be
    written.
    """
    owner, path = os.getpid(), folder / NAME
    made: list[Path] = []
    try:
        descriptor = _acquire(folder, made)
        _held.add(descriptor)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _this_process(), 0)
            yield
        finally:
            # A fork may leave this block too, but does not hold the lock.
            if os.getpid() == owner:
                if _is(descriptor, path):
                    path.unlink()
                _held.discard(descriptor)
                os.close(descriptor)
    finally:
        if os.getpid() == owner:
            for empty in reversed(made):
                with suppress(OSError):  # it is not empty: the run keeps it
                    empty.rmdir()


def _acquire(folder: Path, made: list[Path]) -> int:
    """The descriptor of the locked file. Adds the folders made to `made`, the outermost first."""
    path = folder / NAME
    for _ in range(_TRIES):
        try:
            _make(folder, made)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except FileNotFoundError:
            continue  # the last holder has just removed the folder
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(descriptor, path):
                return descriptor
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise UserError(f"`out` {folder} is in use by {holder}; wait for its end, stop it, or name another folder") from error
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                path.unlink(missing_ok=True)
                raise UserError(
                    f"`out` {folder} lies on a filesystem without file locks ({error.strerror}), so that two runs could write into it; "
                    "name a folder on another filesystem"
                ) from error
            raise
        os.close(descriptor)  # the last holder removed this file after it was opened
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))  # a link to nowhere


def _make(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir()
            made.append(path)


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _this_process() -> bytes:
    command = shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command[:1000]}
    return json.dumps(holder).encode()


def _holder(descriptor: int) -> str:
    """Who wrote the file, in words. The content is not trusted."""
    try:
        found = json.loads(os.pread(descriptor, _LONGEST, 0))
        pid, host, since, command = (str(found[name])[:300] for name in ("pid", "host", "since", "command"))
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return "another run, which has not said who it is"
    return "".join(letter for letter in f"process {pid} on {host} since {since} ({command})" if letter.isprintable())
