"""One run at a time in a folder: a lock on the file FOLDER/.lock from a command's start to its end.

The lock is the kernel's (flock), so a kill frees it. The file says who holds it, for the message of whoever comes second. Processes that the
run starts do not keep it: programs are started without the file, and forks close it at once.
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
_LONGEST = 4096  # bytes of the file that are read and written
_TRIES = 100  # of opening a file that others remove meanwhile
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_held: set[int] = set()


def _close_in_child() -> None:
    # A fork shares the lock: a worker that outlives its killed parent would keep the folder locked.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made where it is missing, and removed at the end if the block left nothing in it.

    Raises `UserError` at once where another run holds it, saying who, and where the filesystem has no locks; `OSError` where the
    folder cannot be written.
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
            # A fork that leaves this block is not the holder.
            if os.getpid() == owner:
                if _is(descriptor, path):
                    path.unlink()
                _held.discard(descriptor)
                os.close(descriptor)
    finally:
        if os.getpid() == owner:
            for empty in reversed(made):
                with suppress(OSError):  # not empty: the run's
                    empty.rmdir()


def _acquire(folder: Path, made: list[Path]) -> int:
    """The descriptor of the locked file. Adds the folders made to `made`, the outermost first."""
    path = folder / NAME
    for _ in range(_TRIES):
        try:
            _make(folder, made)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except FileNotFoundError:
            continue  # its last holder has just removed the folder
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
        os.close(descriptor)  # its last holder removed this file after it was opened
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
    """Who wrote the file, in words; its content is not trusted."""
    try:
        found = json.loads(os.pread(descriptor, _LONGEST, 0))
        pid, host, since, command = (str(found[name])[:300] for name in ("pid", "host", "since", "command"))
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return "another run, which has not said who it is"
    return "".join(letter for letter in f"process {pid} on {host} since {since} ({command})" if letter.isprintable())
