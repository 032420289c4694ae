"""Where every error ends: it becomes lines for people, or one JSON document, and an exit code."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import click

from loramerge.cli import console
from loramerge.errors import ExitCode, LoramergeError


def exit_code_of(command: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Run a command and report what it raises.

    Args:
        command: Returns the exit code, or nothing when all went well.
        arguments: The command line's, which may be what is wrong.
    """
    try:
        code = command()
        sys.stdout.flush()  # a closed pipe or a full disk shows here at the latest
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", "", ExitCode.INTERRUPTED, arguments)
    except BrokenPipeError:
        _abandon_output()
        return ExitCode.FAILED
    except click.ClickException as error:
        return _failed(error.format_message(), _usage(error), ExitCode.USAGE, arguments)
    except LoramergeError as error:
        _show_traceback(arguments)
        return _failed(error.message, error.hint, error.exit_code, arguments)
    except OSError as error:
        _show_traceback(arguments)
        return _failed(_in_words(error), "", ExitCode.FAILED, arguments)
    except MemoryError:
        return _failed("there is not enough memory", "", ExitCode.FAILED, arguments)
    except Exception as error:  # noqa: BLE001  whatever else comes up is a defect, and the user is told so
        return _defect(error, arguments)
    return int(code or ExitCode.DONE)


def _failed(message: str, hint: str, code: ExitCode, arguments: Sequence[str]) -> int:
    try:
        if "--json" in arguments:
            console.document({"error": {"message": message, "hint": hint, "exit_code": int(code)}})
        else:
            console.error(message, hint)
        sys.stdout.flush()
    except OSError:
        _abandon_output()
    return code


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"`{context.command_path} --help` says how to use it" if context else ""


def _in_words(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else f"the system refused an operation: {reason}"


def _defect(error: Exception, arguments: Sequence[str]) -> int:
    what = f"{type(error).__name__}: {console.excerpt(str(error), 200)}" if str(error) else type(error).__name__
    if type(error).__name__ == "OutOfMemoryError":  # torch's; importing torch to name it would be dear
        return _failed(
            "there is not enough memory on the CUDA device", "use --device cpu", ExitCode.FAILED, arguments
        )
    shown = _show_traceback(arguments)
    hint = "please report it, with the lines above" if shown else "run it again with -v to see where, and report it"
    return _failed(f"this is a defect of loramerge: {what}", hint, ExitCode.FAILED, arguments)


def _show_traceback(arguments: Sequence[str]) -> bool:
    if not {"-v", "--verbose"} & set(arguments):
        return False
    traceback.print_exc()
    return True


def _abandon_output() -> None:
    """Nobody reads it any more; without this the interpreter would complain when it flushes at its end."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(sink, stream.fileno())
