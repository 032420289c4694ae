"""An objective of the user's own: a function of a module."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from loramerge.documents.problems import did_you_mean
from loramerge.errors import LoramergeError
from loramerge.files.reading import content_of
from loramerge.messages import any_of, excerpt
from loramerge.search.judged import Judged, Tried

OFFERED = tuple(each.name for each in fields(Tried))
"""What a function may ask for, by the names of its parameters."""


class ObjectiveError(LoramergeError):
    """The function that judges can't be had, or does not judge."""


@dataclass(frozen=True)
class OwnFunction:
    """A function that judges.

    Attributes:
        spelling: As the recipe has it.
        function: It.
        takes: The parameters that it gets, of `OFFERED`.
        digest: SHA-256 of its file; empty where it has none.
    """

    spelling: str
    function: Callable[..., Any]
    takes: tuple[str, ...]
    digest: str = ""

    @classmethod
    def load(cls, spelling: str, folder: Path) -> OwnFunction:
        """Import it.

        Args:
            spelling: `module:function`.
            folder: Where a module is looked for before all others: the recipe's.

        Raises:
            ObjectiveError: There is no such module or function, or it wants what nobody has for it.
        """
        module_name, _, name = spelling.partition(":")
        _look_first_in(folder)
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            hint = f"the module is looked for in {folder} first, then where Python finds others"
            raise ObjectiveError(f"{module_name} can't be imported: {_error_said(error)}", hint=hint) from error
        functions = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        function = getattr(module, name, None)
        if not callable(function):
            what = "is no function" if hasattr(module, name) else "is not in it"
            raise ObjectiveError(f"{module.__file__ or module_name}: {name} {what}{did_you_mean(name, functions)}")
        file = getattr(module, "__file__", None)
        digest = hashlib.sha256(content_of(Path(file))).hexdigest() if file else ""
        return cls(spelling, function, _taken(spelling, function), digest)

    @property
    def draws(self) -> bool:
        """Whether it looks at pictures."""
        return "pictures" in self.takes

    def __call__(self, tried: Tried) -> Judged:
        """What it returns.

        Raises:
            ObjectiveError: It raises, or returns no number.
        """
        try:
            found = self.function(**{name: getattr(tried, name) for name in self.takes})
        except Exception as error:
            raise ObjectiveError(f"{self.spelling} raised {_error_said(error)}") from error
        number = _finite(found)
        if number is None:
            raise ObjectiveError(
                f"{self.spelling} returned {excerpt(repr(found))}; expected a number, of which the highest is the best"
            )
        return Judged(number)


def _taken(spelling: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """What it gets: every parameter of an offered name; it may have others that have defaults."""
    given = inspect.signature(function).parameters
    named = [each for each in given.values() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    unknown = [each.name for each in named if each.name not in OFFERED and each.default is each.empty]
    unknown += [each.name for each in given.values() if each.kind is each.POSITIONAL_ONLY]
    takes = tuple(each.name for each in named if each.name in OFFERED)
    if unknown or not takes:
        what = f"wants {any_of(unknown)}" if unknown else "takes nothing"
        offered = any_of(f"`{each}`" for each in OFFERED)
        raise ObjectiveError(f"{spelling} {what}; expected parameters called {offered}: one of them, or more")
    return takes


def _finite(found: Any) -> float | None:
    """A finite number; None for anything else. NumPy and torch have numbers of their own."""
    if isinstance(found, str | bytes):
        return None
    try:
        number = float(found)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _error_said(error: BaseException) -> str:
    """An exception, and the line of the file that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [each for each in frames if "importlib" not in each.filename and each.filename != __file__]
    where = f" ({inside[-1].filename}:{inside[-1].lineno})" if inside else ""
    return f"{type(error).__name__}: {excerpt(str(error), 300)}{where}"


def _look_first_in(folder: Path) -> None:
    """Look for modules there before all others, from now on: one may import its neighbours when it is called."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
