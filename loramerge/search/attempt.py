"""One trial of a search, and what comes of it; in another process everything that happens is a value."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loramerge.errors import ExitCode, LoramergeError, SourceError
from loramerge.search.function import ObjectiveError

if TYPE_CHECKING:
    from loramerge.search.judged import Judged
    from loramerge.search.space import Values


class Trying(Protocol):
    """Tries values."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of what was tried so far."""

    def __call__(self, values: Values) -> Judged:
        """What came of them.

        Raises:
            LoramergeError: They can't be merged.
        """


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        number: Of the trial.
        judged: The judgement; None where there is none.
        why: Why there is none.
        notes: What is to be said of it.
    """

    number: int
    judged: Judged | None
    why: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stopped:
    """Why trials can't go on in a process; errors themselves do not always survive the way between processes."""

    message: str
    hint: str = ""
    code: ExitCode | None = None

    def error(self) -> Exception:
        """The same as an error here; a defect's has the lines that show where it lies."""
        if self.code is None:
            return RuntimeError(self.message)
        error = LoramergeError(self.message, hint=self.hint)
        error.exit_code = self.code
        return error


def outcome_of(trying: Trying, number: int, values: Values) -> Outcome:
    """Try some values; what can't be merged is an outcome, too.

    Raises:
        ObjectiveError: The user's own function does not judge.
        SourceError: A LoRA can't be read any more, which is no matter of the values.
    """
    try:
        return Outcome(number, trying(values), notes=trying.notes)
    except ObjectiveError as error:
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        error.message = f"{error.message} (with {shown})"
        raise
    except SourceError:
        raise
    except LoramergeError as error:
        return Outcome(number, None, error.message)


def attempted(trying: Callable[[], Trying], number: int, values: Values) -> Outcome | Stopped:
    """The same in another process: whatever happens is a value that survives the way back.

    Args:
        trying: Loads what trying needs, or has it.
        number: Of the trial.
        values: What to try.
    """
    try:
        return outcome_of(trying(), number, values)
    except LoramergeError as error:
        return Stopped(error.message, error.hint, error.exit_code)
    except Exception:  # noqa: BLE001  a defect is told where somebody sees it
        return Stopped(traceback.format_exc())


def outcome_in(found: Outcome | Stopped) -> Outcome:
    """What another process found.

    Raises:
        LoramergeError: Trials can't go on there.
    """
    if isinstance(found, Outcome):
        return found
    raise found.error()
