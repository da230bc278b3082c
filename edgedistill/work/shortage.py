"""A memory or a disk that is full, met inside whichever library: told in two lines, like all that is the machine's.

atomic.disk_full says more where it is known how much is needed; this is for everywhere else. Libraries name the two by
errno, by a type, or in words alone; the words are those that numpy, torch, onnxruntime, glibc and Python raise.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import EdgeDistillError, InputError

GOES_ON = "then run the same command: it goes on from here."

_DISK = re.compile(
    r"No space left on device|Disk quota exceeded"
    r"|^\d+ requested and \d+ written$"  # numpy's tofile, which drops the errno
)
_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't|not enough)"  # torch
    r"|^could not (create|execute) a (primitive|memory object)$"  # oneDNN below torch, which says no more than that
    r"|Failed to allocate memory|std::bad_alloc|bad allocation"  # onnxruntime, and C++ below anything
    r"|^Unable to allocate [\d.]+ \w+ for an array"  # numpy, in a message that lost its type
    r"|^can't start new thread|Cannot allocate memory|failed to map segment from shared object"  # Python, glibc
    r"|^MemoryError$"
)


@contextlib.contextmanager
def shortages_explained(*places: Path) -> Iterator[None]:
    """Raises InputError in place of an error that says the memory or a disk is full; the cause stays. `places`: where
    is written, for the words. Other errors pass."""
    try:
        yield
    except EdgeDistillError:
        raise
    except (OSError, RuntimeError, MemoryError, ImportError) as error:
        explanation = explained(error, places)
        if explanation is None:
            raise
        raise explanation from error


def explained(error: BaseException, places: tuple[Path, ...] = ()) -> InputError | None:
    """Two lines for an error that is one of these, else None."""
    number = error.errno if isinstance(error, OSError) else None
    words = str(error).partition("\n")[0]
    if number in (errno.ENOSPC, errno.EDQUOT) or _DISK.search(words):
        return disk_is_full(error, places)
    if number == errno.ENOMEM or isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return memory_is_full(words)
    return None


def memory_is_full(words: str) -> InputError:
    return InputError(
        f"the machine's memory is full: {words[:200]}" if words else "the machine's memory is full",
        "Close other programs or give this one more memory (a limit may be set for it), " + GOES_ON,
    )


def disk_is_full(error: BaseException, places: tuple[Path, ...]) -> InputError:
    """Names the file where the error does, else of `places` the one with the least room."""
    name = getattr(error, "filename", None)
    named = Path(name if isinstance(name, str) else name.decode(errors="replace")) if name else None
    free = {place: shutil.disk_usage(there).free for place in places if (there := _there(place)) is not None}
    least = min(free, key=lambda place: free[place], default=None)
    where = named or least or Path(".")
    room = f": {free[least] / 2**20:.1f} MiB free" if least is not None else ""
    return InputError(
        f"no room left for {where}{room}", f"Free some space, or point --work and --out at another disk, {GOES_ON}"
    )


def _there(place: Path) -> Path | None:
    """The nearest folder above a place, or itself, that is there."""
    return next((path for path in (place, *place.absolute().parents) if path.is_dir()), None)
