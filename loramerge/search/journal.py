"""The file of a study: Optuna's own journal (`JournalStorage`), so its tools open it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError
from loramerge.files.reading import content_of
from loramerge.files.writing import writing

if TYPE_CHECKING:
    from pathlib import Path

    import optuna

NAME = "loramerge"
"""Of the study in its file."""
RESTART = "begin anew with --restart, or move the file away"
_LARGEST = 2**30  # bytes


def check_installed() -> None:
    """Go on only if Optuna is there.

    Raises:
        LoramergeError: It is not.
    """
    try:
        import optuna  # noqa: F401  whether it is there
    except ImportError as error:
        raise LoramergeError(
            f"`tune` searches with Optuna, which can't be imported: {error}",
            hint="pip install 'loramerge[tune]'",
        ) from None


def begin_anew(path: Path, *, keep: str) -> None:
    """Forget a study, but for what was noted down under one key.

    Args:
        path: Its file, there or not.
        keep: The key.
    """
    noted = ""
    if path.exists():
        with suppress(LoramergeError), quiet_optuna():
            noted = str(opened(path).user_attrs.get(keep, ""))
        with writing(path):
            path.unlink()
    if noted:
        with quiet_optuna():
            opened(path).set_user_attr(keep, noted)


def opened(path: Path) -> optuna.Study:
    """The study of a file, which is made if there is none. Whoever calls it keeps all others away from the file.

    Optuna's own locks are files, which outlive a process that is killed: the next one would wait for half a minute.

    Raises:
        LoramergeError: There is something else, or it can't be written.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class NoLock(JournalFileOpenLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    _check_lines(path)
    with writing(path):
        backend = JournalFileBackend(str(path), lock_obj=NoLock(str(path)))
    try:
        storage = JournalStorage(backend)
        names = [each.study_name for each in storage.get_all_studies()]
        if not names:
            return optuna.create_study(study_name=NAME, storage=storage, direction="maximize")
        return optuna.load_study(study_name=NAME, storage=storage)
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from None


def _unreadable(path: Path, why: str) -> LoramergeError:
    return LoramergeError(f"{path} is no study that can be read: {why}", hint=RESTART)


def _check_lines(path: Path) -> None:
    """Go on only with a journal. What a killed process had begun to write goes: Optuna would write on in that line.

    Raises:
        LoramergeError: It is something else, to which Optuna would add its own lines.
    """
    if not path.exists():
        return
    content = content_of(path, most=_LARGEST)
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "op_code" not in entry:
            raise _unreadable(path, f"line {number} is none of Optuna's journal")
    if whole < len(content):
        with writing(path), path.open("r+b") as stream:
            stream.truncate(whole)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna tells of every trial, and warns of what is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
