"""A Python script as a fork of the process of `forked`, and each Python that the script starts as a fork of the script.

What runs is the same, except that nothing is imported twice. What is started by other programs, a shell for one, is a
process of its own as ever.
"""

from __future__ import annotations

import gc
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import forked

FILES = 256  # as many descriptors as a script may have opened


def run(*arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run Python with these arguments to its end; where the system can't fork, in a process of its own."""
    words = [str(each) for each in arguments]
    if forked.CAN_FORK:
        return forked.finished(_python_that_forks, *words, cwd=cwd, env=env)
    own = {**os.environ, **(env or {})}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=own, capture_output=True, text=True, check=False)


def _python_that_forks(*words: str) -> None:
    subprocess.Popen = _Popen  # type: ignore[misc]
    _python(words)


class _Popen(subprocess.Popen):  # type: ignore[type-arg]
    """Where Python is asked for, the fork that would become it goes on as it."""

    def __init__(self, args: Sequence[Any], *, env: Mapping[str, str] | None = None, **options: Any) -> None:
        words = [os.fspath(each) for each in args]
        if words[0] == sys.executable:
            options["preexec_fn"] = lambda: _become(words[1:], env)
        super().__init__(args, env=env, **options)


def _become(words: Sequence[str], env: Mapping[str, str] | None) -> None:
    """What Python would do with a command line, and the end."""
    os.closerange(3, FILES)  # the last of them tells the parent that its program has begun
    gc.enable()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    code = 1
    try:
        _python(words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  no exception leaves a process
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def _python(words: Sequence[str]) -> None:
    """Run `[-S] -c CODE ARGUMENTS`, or `SCRIPT ARGUMENTS`."""
    rest = [*words]
    if rest[0] == "-S":
        del rest[0]
    if rest[0] == "-c":
        _, code, *arguments = rest
        sys.argv = ["-c", *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        sys.argv = rest
        sys.path.insert(0, str(Path(rest[0]).parent))
        runpy.run_path(rest[0], run_name="__main__")
