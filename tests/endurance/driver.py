"""Commands as forks of a process that was begun with shim.so, so that each of their calls can be made to fail.

`python driver.py` reads jobs of JSON, and answers each with the number of the process that does it and, in a second
line, with what became of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)] * (str(HERE.parent) not in sys.path)

from endurance import shim  # noqa: E402  it lies beside this file
from endurance.shim import Call, Shim, Strike  # noqa: E402

_LONGEST = 120.0  # seconds: nothing here takes a tenth of it


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        code: Its exit code; negative for a signal.
        seconds: How long it took.
        calls: How many calls were counted.
        hit: Which was hit, and where; empty for none.
        stdout: What it said.
        stderr: What it said of errors.
        stuck: Whether it had not ended after a long time, and was ended.
    """

    code: int
    seconds: float
    calls: int
    hit: str
    stdout: str
    stderr: str
    stuck: bool

    @property
    def killed(self) -> bool:
        """Whether by SIGKILL."""
        return self.code == -signal.SIGKILL

    @property
    def stage(self) -> str:
        """The word for what it was doing when it ended, as it said last."""
        steps = [line.strip() for line in self.stderr.splitlines() if line.endswith("…")]
        said = steps[-1].removesuffix("…").strip() if steps else ": start"
        return said.partition(": ")[2].partition(" ")[0]

    @property
    def said(self) -> str:
        """All of it."""
        return self.stdout + self.stderr


class Driver:
    """The process that is forked."""

    def __init__(self, jobs: IO[str], answers: IO[str], below: Path) -> None:
        self._jobs, self._answers, self.below = jobs, answers, below
        self.child = 0

    def run(self, *arguments: object, **options: Any) -> Outcome:
        """A command to its end; the options are those of `start`."""
        self.start(*arguments, **options)
        return self.wait()

    def start(
        self,
        *arguments: object,
        cwd: Path,
        strike: Strike | None = None,
        seconds: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Begin a command.

        Args:
            arguments: Of the command line.
            cwd: Where.
            strike: What goes wrong, in files below the driver's folder.
            seconds: Kill it, and what it began, after that time.
            env: Variables besides.
        """
        job = {
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd),
            "strike": asdict(strike or Strike()),
            "seconds": seconds,
            "env": dict(env or {}),
        }
        print(json.dumps(job), file=self._jobs, flush=True)
        self.child = int(self._answers.readline())

    def wait(self) -> Outcome:
        """What became of it."""
        return Outcome(**json.loads(self._answers.readline()))


@contextmanager
def driving(below: Path, env: Mapping[str, str]) -> Iterator[Driver]:
    """A process to be forked.

    Args:
        below: The folder whose files go wrong.
        env: Variables besides those of this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, "LD_PRELOAD": str(shim.build(Path(folder))), "ENDURANCE_BELOW": str(below), **env}
        command = [sys.executable, __file__]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Driver(process.stdin, process.stdout, below)
            finally:
                process.stdin.close()
                process.wait()


def serve() -> None:
    """Do the jobs of standard input."""
    import preloaded  # noqa: F401  everything, before the first fork

    _import_the_rest()
    memory = Shim()
    below = Path(os.environ["ENDURANCE_BELOW"])
    del os.environ["LD_PRELOAD"]  # what a command begins has no part in it
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(_done(job, memory, below)), flush=True)
    os._exit(0)


def _import_the_rest() -> None:
    """What commands import besides, and small files that are kept as large ones are."""
    from importlib import import_module

    import torch

    for name in ("extract", "convert", "merge", "tune", "grid", "lock", "plan", "publish", "validate", "one_shot"):
        import_module(f"loramerge.cli.{name}")
    for name in ("optuna", "optuna.storages.journal", "filelock", "huggingface_hub.hf_api", "matplotlib.figure"):
        import_module(name)
    from loramerge.files import file_view, kept_digests

    torch.set_num_threads(1)
    kept_digests.LEAST = 1
    file_view._UNSETTLED = 50_000_000


def _done(job: dict[str, Any], memory: Shim, below: Path) -> dict[str, Any]:
    given = job["strike"]
    strike = Strike(**{**given, "kinds": Call(given["kinds"])})
    memory.prepare(strike, below)
    # In memory: what a command says is never among the files that go wrong.
    with os.fdopen(os.memfd_create("out"), "w+b") as out, os.fdopen(os.memfd_create("errors"), "w+b") as errors:
        begin = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(job, memory, (out.fileno(), errors.fileno()))
        print(child, flush=True)
        code, stuck = _waited(child, begin, job["seconds"])
        seconds = time.monotonic() - begin
        calls, hit = memory.disarm()
        said = []
        for file in (out, errors):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    return asdict(Outcome(code, seconds, calls, hit, *said, stuck))


def _waited(child: int, begin: float, seconds: float | None) -> tuple[int, bool]:
    """(exit code, whether it was stuck); what is left of its group is ended."""
    ended, code, stuck = False, 0, False
    while not ended:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            ended, code = True, os.waitstatus_to_exitcode(status)
            break
        elapsed = time.monotonic() - begin
        if elapsed > min(_LONGEST, _LONGEST if seconds is None else seconds):
            stuck = elapsed > _LONGEST
            with suppress(ProcessLookupError):  # it has begun no group yet
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            ended, code = True, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            break
        time.sleep(0.002)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return code, stuck


def _child(job: dict[str, Any], memory: Shim, files: tuple[int, int]) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nowhere, *files)):
        os.dup2(file, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = 99
    try:
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        from loramerge.cli import main

        sys.argv = ["loramerge", *job["arguments"]]
        memory.arm()
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001  a fork must never come back
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
