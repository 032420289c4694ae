"""One run at a time for one place: the second waits for the first, and clears away what killed ones left."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.atomic import leftovers, parents_of, recover, remove
from loramerge.progress import Progress, Silent

if TYPE_CHECKING:
    from filelock import BaseFileLock

_TRIES = 100  # so many runs would have to come in between, one right after the other


@contextmanager
def in_turn(place: Path, progress: Progress | None = None) -> Iterator[bool]:
    """Keep other runs away from a place while the block runs, and wait for one that is there already.

    The place is held by a lock on a file beside it, which the system gives up with the process, however that ends.
    Once it is held, nobody can be at work there: whatever is half written was left by a killed run, and goes away;
    a place that such a run had moved aside is put back. Look at the place inside the block, not before.

    Where the file can't be made or locked (some network drives, a folder that is read-only) runs are not kept apart,
    and only a place that was moved aside is put back.

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
        file = _lock_file(place)
        held = _hold(file, place, progress)
        try:
            with suppress(OSError):  # whoever writes there says why that can't be done
                recover(place)
            if held is not None:
                clear(place, progress)
            yield held is not None
        finally:
            if held is not None:
                with suppress(OSError):  # before the lock ends: who waits for it looks whether it is still there
                    file.unlink()  # Windows keeps what is open; there it goes with the lock
                held.release()


def was_left(place: Path) -> bool:
    """Whether a killed run, or one that is at work, has anything beside a place: if only the file that it locked."""
    return bool(leftovers(place)) or os.path.lexists(_lock_file(place))


def clear(place: Path, progress: Progress | None = None) -> None:
    """Remove what killed runs left beside a place. Only for a run that keeps the others away."""
    remove_left(leftovers(place), f"beside {place}", progress)


def remove_left(left: Sequence[Path], where: str, progress: Progress | None = None) -> None:
    """Remove what killed runs left, and say so where there is anything.

    Args:
        left: Files and folders.
        where: Of it, in words.
        progress: Told of it.
    """
    if left:
        progress = progress or Silent()
        progress.start(f"removing what a killed run left {where}", len(left))
        for path in left:
            remove(path)
            progress.advance()


def _lock_file(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock.partial")


def _hold(file: Path, place: Path, progress: Progress) -> BaseFileLock | None:
    """Lock a file; None where that can't be done."""
    from filelock import FileLock  # 20 ms that `validate` does without

    lock = FileLock(file, fallback_to_soft=False)  # a file that stands for a lock would outlive a killed run
    for _ in range(_TRIES):
        try:
            _wait(lock, place, progress)
        except (FileNotFoundError, FileExistsError):  # the run before us made the folder, and took it away again
            continue
        except OSError:
            return None
        return lock
    return None  # a place such as /proc, where no file can be made however often it is tried


def _wait(lock: BaseFileLock, place: Path, progress: Progress) -> None:
    try:
        lock.acquire(blocking=False)
    except TimeoutError:
        if not Path(lock.lock_file).exists():  # nobody holds it: it was just let go, or it can't be made at all
            raise FileNotFoundError from None
        progress.start(f"waiting for another run that writes {place}", 1)
        lock.acquire()
        progress.advance()
