"""One build at a time has a destination: two would measure and judge each other's bundle, hours after they began."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ImportError:  # Windows: two builds with one destination are up to the user there
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def destination_lock(out: Path) -> Iterator[None]:
    """Hold `out` by a lock file beside it, which goes at the end; after a kill it lies there, held by nobody.

    Raises InputError while another build holds it, and where its folder cannot be written. Where there are no locks
    (some network disks) nothing is held.
    """
    if fcntl is None:
        yield
        return
    path = out.parent / f".{out.name}.lock"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _held(path)
    except BlockingIOError as error:
        raise InputError(
            f"another build is under way that writes to {out}", "Wait until it is done, or choose another --out."
        ) from error
    except OSError as error:
        raise InputError(f"cannot write in {out.parent}: {error.strerror}", "Choose another --out.") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _held(path: Path) -> int:
    """The open, locked file at `path`: the one that is there now, not one that its last owner has just removed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)
