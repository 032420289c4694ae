"""Mistakes in a recipe: each says where it is and what it is, and all of them are reported together."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from loramerge.errors import InvalidRecipeError
from loramerge.masking import masked
from loramerge.messages import bounded

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where something stands.

    Attributes:
        line: Counted from 1; 0 for the whole of it.
        column: Counted from 1, in characters.
        name: A file, or a `--set`.
    """

    line: int
    column: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        origin: Where it stands.
        key: Where in the recipe; empty for the whole of it.
        message: What is wrong, what was expected; what may be a secret in it is left out.
        hint: What to do, where that takes lines of its own.
    """

    origin: Origin
    key: KeyPath
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", bounded(masked(self.message)))

    def __str__(self) -> str:
        return bounded(": ".join(filter(None, (str(self.origin), dotted(self.key), self.message))))


@dataclass(frozen=True)
class Mistake:
    """A mistake whose place in the file is not looked up yet: where it is by its key.

    Attributes:
        key: Where in the recipe.
        message: What is wrong, what was expected.
        of_key: The key itself is wrong, not its value.
        hint: What to do, where that takes lines of its own.
    """

    key: KeyPath
    message: str
    of_key: bool = False
    hint: str = ""


class RecipeProblemsError(InvalidRecipeError):
    """A recipe with one or more mistakes.

    Args:
        problems: All of them; they are shown in the order of the file, each once.
        hint: What to do about all of them; what the problems themselves say to do, if empty.
    """

    def __init__(self, problems: Iterable[Problem], *, hint: str = "") -> None:
        self.problems = tuple(_in_order(dict.fromkeys(problems)))
        super().__init__("\n".join(map(str, self.problems)), hint=hint or hints_of(self.problems))

    @property
    def by_key(self) -> str:
        """The same for a recipe that is no file: what is wrong with each key, a line each."""
        return "\n".join(f"{dotted(problem.key)}: {problem.message}" for problem in self.problems)


def hints_of(problems: Iterable[Problem]) -> str:
    """What to do about mistakes, each thing once."""
    return "\n".join(dict.fromkeys(problem.hint for problem in problems if problem.hint))


def _in_order(problems: Collection[Problem]) -> list[Problem]:
    """File by file, in the order of each; what has no line, such as a `--set`, comes first."""
    files = {each.origin.name: each.origin.name for each in problems if each.origin.line}
    return sorted(problems, key=lambda each: (files.get(each.origin.name, ""), each.origin.line, each.origin.column))


def dotted(key: KeyPath) -> str:
    """The key as `--set` takes it: `loras.0.weight`."""
    return ".".join(map(str, key))


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the word most like the given one; empty when none is."""
    known = {each.lower(): each for each in words}
    close = get_close_matches(word.lower(), known, n=1, cutoff=0.51) if isinstance(word, str) else []
    return f"; did you mean {known[close[0]]!r}?" if close else ""
