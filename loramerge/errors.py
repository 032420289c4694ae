"""Every error that a user may see, and the exit code that it means.

A message says what is wrong and where; the hint says what to do. Anything that is not a `LoramergeError` is a defect.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from loramerge.masking import masked
from loramerge.messages import bounded


class ExitCode(IntEnum):
    """What a finished command tells the shell."""

    DONE = 0
    FAILED = 1
    CHANGES_PENDING = 2
    INVALID_RECIPE = 3
    BAD_SOURCE = 4
    MISMATCH = 5
    NOT_VERIFIED = 6
    NOT_PUBLISHED = 7
    USAGE = 64
    INTERRUPTED = 130


def common(codes: Iterable[ExitCode]) -> ExitCode:
    """What to tell the shell of several failures: their code where they share one, else that the command failed."""
    found = set(codes)
    return found.pop() if len(found) == 1 else ExitCode.FAILED if found else ExitCode.DONE


class LoramergeError(Exception):
    """The run failed for a reason that the user can act on.

    Args:
        message: What is wrong, and where; what may be a secret in it is left out, and what is very long is cut.
        hint: What to do about it; shown on a line of its own.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = bounded(masked(message))
        self.hint = bounded(masked(hint))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InvalidRecipeError(LoramergeError):
    """The recipe can't be read as one: wrong YAML, unknown key, wrong value."""

    exit_code = ExitCode.INVALID_RECIPE


class SourceError(LoramergeError):
    """A base or LoRA is missing, refused, unreadable or not the one that was promised."""

    exit_code = ExitCode.BAD_SOURCE


class MismatchError(LoramergeError):
    """Inputs that are fine by themselves do not fit together: wrong base, ranks, shapes."""

    exit_code = ExitCode.MISMATCH


@dataclass(frozen=True)
class Finding:
    """One thing that keeps an artifact from being what its provenance says.

    Attributes:
        kind: `provenance` is missing or damaged; a file is `changed`, `missing` or `extra`; made again from its
            recipe, an `input` or a file is `different`; a `signature` is missing or bad, or a file not what was signed.
        file: Its name in the artifact; for an input, its place.
        message: The same in words.
    """

    kind: Literal["provenance", "changed", "missing", "extra", "input", "different", "signature"]
    file: str
    message: str


class VerificationError(LoramergeError):
    """An artifact is not what its provenance says, or can't be made again.

    Args:
        reference: The artifact; the whole message where there are no findings.
        findings: Everything that is wrong with it.
        hint: What to do about it.
    """

    exit_code = ExitCode.NOT_VERIFIED

    def __init__(self, reference: str, findings: Sequence[Finding] = (), *, hint: str = "") -> None:
        lines = [f"{reference}: {finding.message}" for finding in findings]
        super().__init__("\n".join(lines) or reference, hint=hint)
        self.findings = tuple(findings)


class PublishError(LoramergeError):
    """The artifact is complete, but a target would not take it."""

    exit_code = ExitCode.NOT_PUBLISHED


class UsageError(LoramergeError):
    """The command line makes no sense."""

    exit_code = ExitCode.USAGE
