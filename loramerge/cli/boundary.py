"""Where every error ends: it becomes lines for people, or one JSON document, and an exit code."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from loramerge.cli import console
from loramerge.errors import ExitCode, LoramergeError
from loramerge.files.interrupts import noted
from loramerge.masking import masked
from loramerge.messages import bounded, excerpt

_DESTRUCTIVE = ("--force", "--prune")  # whoever mistypes an option does not ask for these


def exit_code_of(command: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Run a command and report what it raises.

    Args:
        command: Returns the exit code, or nothing when all went well.
        arguments: The command line's, which may be what is wrong.
    """
    try:
        try:
            code = command()
            sys.stdout.flush()  # a closed pipe or a full disk shows here at the latest
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  what is not expected is reported as a defect
            code = _report(error, arguments)
            sys.stdout.flush()
    except OSError:  # nobody reads what is said, neither results nor errors
        _abandon_output()
        return ExitCode.FAILED
    return int(code or ExitCode.DONE)


@dataclass(frozen=True)
class Failure:
    """What an error means to the user: what is wrong, what to do about it, and what the shell is told."""

    message: str
    hint: str
    code: ExitCode

    @property
    def data(self) -> dict[str, Any]:
        """The failure under `--json`."""
        return {"message": self.message, "hint": self.hint, "exit_code": int(self.code)}


_INTERRUPTED = Failure("interrupted", "", ExitCode.INTERRUPTED)


def failure(error: BaseException, *, verbose: bool) -> Failure:
    """Put an error into words; a defect's traceback is shown if `verbose`."""
    found = _expected(error)
    if found is None and noted():  # whatever a library made of it
        found = _INTERRUPTED
    if found is None:
        if verbose:
            import traceback

            sys.stderr.write(masked("".join(traceback.format_exception(error))))
        hint = "report it, with the lines above" if verbose else "run it again with -v to see where, and report it"
        found = Failure(f"this is a defect of loramerge: {_error_named(error)}", hint, ExitCode.FAILED)
    return replace(found, message=bounded(masked(found.message)), hint=bounded(masked(found.hint)))


def _expected(error: BaseException) -> Failure | None:
    match error:
        case click.Abort() | KeyboardInterrupt():
            said = str(error.__cause__ or "") if isinstance(error, click.Abort) else str(error)  # Click wraps ^C
            found = replace(_INTERRUPTED, message=said) if said else _INTERRUPTED
        case click.NoSuchOption():
            likely = [each for each in error.possibilities or () if each not in _DESTRUCTIVE]
            said = click.NoSuchOption(error.option_name, possibilities=likely).format_message()
            found = Failure(said, _usage(error), ExitCode.USAGE)
        case click.MissingParameter():  # lists choices on lines of their own
            found = Failure(" ".join(error.format_message().split()), _usage(error), ExitCode.USAGE)
        case click.ClickException():
            found = Failure(error.format_message(), _usage(error), ExitCode.USAGE)
        case LoramergeError():
            found = Failure(error.message, error.hint, error.exit_code)
        case OSError():
            hint = "name a shorter path" if error.errno == errno.ENAMETOOLONG else ""
            found = Failure(_in_words(error), hint, ExitCode.FAILED)
        case MemoryError():
            found = Failure("there is not enough memory", "", ExitCode.FAILED)
        case _ if type(error).__name__ == "OutOfMemoryError":  # torch's; to import torch for its name would be dear
            found = Failure("there is not enough memory on the CUDA device", "use --device cpu", ExitCode.FAILED)
        case _:
            return None
    return found


def _report(error: BaseException, arguments: Sequence[str]) -> ExitCode:
    found = failure(error, verbose=bool({"-v", "--verbose"} & set(arguments)))
    if "--json" in arguments:
        console.document({"error": found.data})
    else:
        console.error(found.message, found.hint)
    return found.code


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"`{context.command_path} --help` says how to use it" if context else ""


def _in_words(error: OSError) -> str:
    reason = error.strerror or _error_named(error)
    return f"{error.filename}: {reason}" if error.filename else f"the system refuses: {reason}"


def _error_named(error: BaseException) -> str:
    said = excerpt(str(error), 200)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _abandon_output() -> None:
    """Send what is still unwritten to nowhere, or the interpreter would complain about it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
            continue
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
