"""One run at a time for one place: the second waits for the first, and clears away what killed ones left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loramerge.files.atomic import leftovers, parents_of, recover, remove
from loramerge.progress import Progress, Silent

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # there is no type for a module that may be absent


@contextmanager
def in_turn(place: Path, progress: Progress | None = None) -> Iterator[bool]:
    """Keep other runs away from a place while the block runs, and wait for one that is there already.

    The place is held by a lock on a file beside it, which the system gives up with the process, however that ends.
    Once it is held, nobody can be at work there: whatever is half written was left by a killed run, and goes away;
    a place that such a run had moved aside is put back. Look at the place inside the block, not before.

    Where the file can't be made or locked (Windows, some network drives, a folder that is read-only) runs are not
    kept apart, and only a place that was moved aside is put back.

    Args:
        place: A folder or a file, there or not.
        progress: Told of a run that is waited for, and of what is cleared away.

    Yields:
        Whether other runs are kept away.

    Raises:
        LoramergeError: The folders above it can't be made.
    """
    progress = progress or Silent()
    with parents_of(place):
        file = place.with_name(f".{place.name}.lock.partial")
        held = _hold(file, place, progress)
        try:
            with suppress(OSError):  # whoever writes there says why that can't be done
                recover(place)
            if held is not None:
                clear(place, progress)
            yield held is not None
        finally:
            if held is not None:
                file.unlink(missing_ok=True)  # before the lock ends: who waits for it looks whether it is still there
                os.close(held)


def clear(place: Path, progress: Progress | None = None) -> None:
    """Remove what killed runs left beside a place. Only for a run that keeps the others away."""
    if left := leftovers(place):
        progress = progress or Silent()
        progress.start(f"removing what a killed run left beside {place}", len(left))
        for path in left:
            remove(path)
            progress.advance()


def _hold(file: Path, place: Path, progress: Progress) -> int | None:
    """Lock a file and return its descriptor; None where that can't be done."""
    if fcntl is None:
        return None
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileNotFoundError:  # the run before us made the folder, and removed it when it failed
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError:
                return None
            continue
        except OSError:
            return None
        try:
            _lock(descriptor, place, progress)
            if _is(descriptor, file):
                return descriptor
        except OSError:
            os.close(descriptor)
            return None
        except BaseException:  # the user's ^C while waiting
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, place: Path, progress: Progress) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.start(f"waiting for another run that writes {place}", 1)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        progress.advance()


def _is(descriptor: int, file: Path) -> bool:
    """Whether a file is still the one that was opened: whoever held it before removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
