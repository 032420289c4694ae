"""Commands as forks of one process that has imported what they import, which takes most of a process's time.

multiprocessing's fork server is that process; a session starts it when it is first needed. It computes nothing and has
one thread, so a fork of it is whole. A fork gets a folder, variables and files of its own. What a library reads when it
is imported has been read, so variables of that kind are refused: such a command needs a process of its own, and so
does each where the system can't fork.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from command_line import process
from secrets_scan import refuse

HERE = Path(__file__).parent
CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
_LATE = {"HF_TOKEN", "HF_OIDC_RESOURCE"}
_EARLY = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "DIFFUSERS_", "TORCH", "PYTORCH_", "PYTHON", "OMP_", "MKL_", "KMP_",
          "OPENBLAS_", "CUDA_", "LD_", "LC_", "LANG", "XDG_", "MPL", "HOME", "TMPDIR")  # fmt: skip


def run(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    inside: int = 0,
) -> CompletedProcess[str]:
    """Run a command as `command_line.process` does; what goes to no file descriptor is returned.

    Args:
        arguments: Of the command line.
        cwd: Where; default: the current folder.
        env: Variables besides those of this process.
        stdout: A file descriptor.
        stderr: A file descriptor.
        inside: See the files that the process of this number sees. (Linux)
    """
    if not CAN_FORK:
        files = {name: file for name, file in (("stdout", stdout), ("stderr", stderr)) if file is not None}
        return process(*arguments, cwd=cwd, env=env, **files)
    function, given = (command_inside, (inside, str(cwd or Path.cwd()))) if inside else (command, ())
    return finished(function, *given, *map(str, arguments), cwd=cwd, env=env, stdout=stdout, stderr=stderr)


def finished(
    function: Callable[..., None],
    *arguments: Any,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> CompletedProcess[str]:
    """Run a function of a module of this folder as `run` runs a command."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        files = {"stdout": stdout or out.fileno(), "stderr": stderr or errors.fileno()}
        running = start(function, *arguments, cwd=cwd, env=env, **files)
        running.join(300)
        running.kill()  # what has ended stays as it is
        running.join()
        said = [_read(file) for file in (out, errors)]
    refuse("".join(said), f"output of {arguments}")
    return CompletedProcess(arguments, running.exitcode, *said)


def start(
    function: Callable[..., None],
    *arguments: Any,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> BaseProcess:
    """Begin to run a function of a module of this folder.

    Args:
        function: What to run; `command` for a command line.
        arguments: For it.
        cwd: Where; default: the current folder.
        env: Variables besides those of this process.
        stdin: A file descriptor; default: nothing to read.
        stdout: A file descriptor; default: nowhere.
        stderr: A file descriptor; default: nowhere.

    Raises:
        ValueError: A variable would come too late, or `-v` would.
    """
    late = [name for name in env or {} if name.startswith(_EARLY) and name not in _LATE]
    if late or {"-v", "--verbose"} & {each for each in arguments if isinstance(each, str)}:
        raise ValueError(f"{late or '-v'} is read when libraries are imported: run the command in its own process")
    with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123  as a descriptor
        files = [nowhere.fileno() if each is None else each for each in (stdin, stdout, stderr)]
        variables = {**os.environ, **(env or {})}
        running = _context().Process(
            target=_forked, args=(function, arguments, str(cwd or Path.cwd()), variables, _Files(files))
        )
        running.start()
    return running


def command(*arguments: str) -> None:
    """The program with these arguments, in a fork."""
    from loramerge.cli import main

    sys.argv = ["loramerge", *arguments]
    main()


def command_inside(number: int, cwd: str, *arguments: str) -> None:
    """The program with these arguments and the mounts of another process, of whose user namespace it becomes a part."""
    for kind in ("user", "mnt"):
        with Path(f"/proc/{number}/ns/{kind}").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), f"setns, {kind}")
    os.chdir(cwd)
    command(*arguments)


def count_threads() -> None:
    """Print how many threads the process has that forks."""
    print(len(list(Path(f"/proc/{os.getppid()}/task").iterdir())))


class _Files:
    """File descriptors on their way into a fork."""

    def __init__(self, files: list[int]) -> None:
        self._files = files

    def __reduce__(self) -> tuple[Any, ...]:
        return _Files, ([DupFd(file) for file in self._files],)

    def take(self) -> None:
        """Make them standard input, output and errors."""
        for number, file in enumerate(self._files):
            os.dup2(file.detach(), number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), before)))
    try:  # not every Python gives its path to what is loaded first
        multiprocessing.forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    atexit.register(multiprocessing.forkserver._forkserver._stop)  # and waits, so that its time counts as ours
    return context


def _forked(
    function: Callable[..., None], arguments: tuple[Any, ...], cwd: str, env: Mapping[str, str], files: _Files
) -> None:
    files.take()
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    function(*arguments)


def _read(file: Any) -> str:
    file.seek(0)
    return file.read().decode()
