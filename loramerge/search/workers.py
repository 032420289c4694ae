"""Who tries: this process, one trial after the other, or several processes side by side.

Processes are begun anew and not forked: threads of torch do not outlive a fork. Each loads what it needs once.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Protocol

from loramerge.errors import ExitCode, LoramergeError, SourceError
from loramerge.numerics.threads import cores
from loramerge.search.function import ObjectiveError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

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


class Workers(Protocol):
    """Who tries."""

    @property
    def free(self) -> bool:
        """Whether one of them has nothing to do."""

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""

    def give(self, number: int, values: Values) -> None:
        """Let one of them try some values."""

    def take(self) -> Outcome:
        """Wait for what comes of a trial.

        Raises:
            LoramergeError: Trials can't go on.
        """

    def close(self) -> None:
        """Let them go."""


class OneAtATime:
    """This process.

    Args:
        trying: Tries.
    """

    def __init__(self, trying: Trying) -> None:
        self._trying = trying
        self._given: tuple[int, Values] | None = None

    @property
    def free(self) -> bool:
        """Whether nothing was given."""
        return self._given is None

    @property
    def busy(self) -> bool:
        """Whether something was given."""
        return self._given is not None

    def give(self, number: int, values: Values) -> None:
        """Keep it for `take`."""
        self._given = number, values

    def take(self) -> Outcome:
        """Try what was given."""
        assert self._given is not None  # noqa: S101  whoever calls it has given something
        (number, values), self._given = self._given, None
        return outcome_of(self._trying, number, values)

    def close(self) -> None:
        """Nothing to do."""


class Processes:
    """Several processes.

    Args:
        make: Loads what trying needs; it goes to every process.
        count: How many.
    """

    def __init__(self, make: Callable[[], Trying], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess] = []
        self._free: list[Connection] = []
        self._busy: list[Connection] = []
        threads = max(1, cores() // count)
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_work_on, args=(make, there, threads), daemon=True)
            process.start()
            there.close()  # so that its end shows here
            self._processes.append(process)
            self._free.append(here)

    @property
    def free(self) -> bool:
        """Whether one of them has nothing to do."""
        return bool(self._free)

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return bool(self._busy)

    def give(self, number: int, values: Values) -> None:
        """Let one of them try some values."""
        connection = self._free.pop(0)
        self._busy.append(connection)
        connection.send((number, dict(values)))

    def take(self) -> Outcome:
        """Wait for what comes of a trial.

        Raises:
            LoramergeError: A process can't load what it needs, or ended.
        """
        connection: Any = wait(self._busy)[0]
        try:
            found = connection.recv()
        except (EOFError, OSError):
            raise LoramergeError(
                "a process of the search ended before its trial did; there may be too little memory for so many",
                hint="the same command goes on; give it fewer --jobs",
            ) from None
        self._busy.remove(connection)
        self._free.append(connection)
        if isinstance(found, Outcome):
            return found
        raise found.error()

    def close(self) -> None:
        """End them, at work or not."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for connection in (*self._free, *self._busy):
            connection.close()


@dataclass(frozen=True)
class _Stopped:
    """Why a process can't go on; errors themselves do not always survive the way between processes."""

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


def _work_on(make: Callable[[], Trying], connection: Connection, threads: int) -> None:
    """What a process does until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    trying: Trying | None = None
    try:
        import torch

        torch.set_num_threads(threads)
        while True:
            number, values = connection.recv()
            trying = trying or make()
            connection.send(outcome_of(trying, number, values))
    except EOFError:
        return
    except LoramergeError as error:
        connection.send(_Stopped(error.message, error.hint, error.exit_code))
    except Exception:  # noqa: BLE001  a defect is told where somebody sees it
        connection.send(_Stopped(traceback.format_exc()))
