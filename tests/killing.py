"""Runs of recipes that are killed with SIGKILL, each a fork of one process that has imported everything.

`serve` reads jobs of JSON, and answers each with the process that does it and, in a second line, its outcome.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO

import forked

_CHANGES = {
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "shutil.rmtree",
    "ctypes.dlsym",
    "socket.connect",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        killed: Whether by the signal.
        seconds: How long it took.
        events: What it did to folders, to files opened for writing, and to the network; empty if it was killed.
    """

    killed: bool
    seconds: float
    events: list[str]


class Runs:
    """The process that is forked.

    Attributes:
        child: The process id of the latest run.
    """

    def __init__(self, jobs: IO[str], answers: IO[str]) -> None:
        self._jobs, self._answers = jobs, answers
        self.child = 0

    def run(
        self,
        recipe: Path,
        out: Path,
        *,
        seconds: float | None = None,
        event: int | None = None,
        exchange: bool = True,
    ) -> Outcome:
        """Run a recipe to its end, or until it is killed; the arguments are those of `start`."""
        self.start(recipe, out, seconds=seconds, event=event, exchange=exchange)
        return self.wait()

    def start(
        self,
        recipe: Path,
        out: Path,
        *,
        seconds: float | None = None,
        event: int | None = None,
        exchange: bool = True,
    ) -> None:
        """Begin to run a recipe.

        Args:
            recipe: Its file.
            out: The artifact's folder.
            seconds: Kill it after that time.
            event: Kill it right before that event, counted from 0.
            exchange: Whether the system can swap two folders in one step.
        """
        job = {"recipe": str(recipe), "out": str(out), "seconds": seconds, "event": event, "exchange": exchange}
        print(json.dumps(job), file=self._jobs, flush=True)
        self.child = int(self._answers.readline())

    def wait(self) -> Outcome:
        """How it ended."""
        return Outcome(**json.loads(self._answers.readline()))

    def kill(self) -> None:
        """Kill the run that is under way."""
        os.kill(self.child, signal.SIGKILL)


@contextmanager
def runs(token: str) -> Iterator[Runs]:
    """A process to be forked, with the Hub of this one."""
    (theirs, jobs), (answers, ours) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        server = forked.start(
            serve, env={"HF_TOKEN": token, **few_certificates(Path(folder))}, stdin=theirs, stdout=ours
        )
        os.close(theirs)
        os.close(ours)
        with os.fdopen(answers) as reading:
            with os.fdopen(jobs, "w") as writing:
                yield Runs(writing, reading)
            server.join()


def few_certificates(folder: Path) -> dict[str, str]:
    """Variables that let a fork load one certificate and not all of the system, which takes a quarter of its time.

    Args:
        folder: Where the certificate is written.
    """
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not found:
        return {}
    (folder / "one.pem").write_text(ssl.DER_cert_to_PEM_cert(found[0]))
    return {"SSL_CERT_FILE": str(folder / "one.pem")}


def serve() -> None:
    """Do the jobs of standard input, each in a fork."""
    warm = False
    for line in sys.stdin:
        job = json.loads(line)
        if not warm:
            _warm_up(job["recipe"])
            warm = True
        print(json.dumps(_forked(job)), flush=True)
    os._exit(0)  # torch takes seconds to tidy up


def _warm_up(recipe: str) -> None:
    """Import what a run imports: without a call of the Hub, whose connections the forks would share."""
    import torch

    from loramerge import read_recipe, run

    import_module("huggingface_hub.hf_api")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run(read_recipe(recipe), out=Path(folder, "out"), device="cpu", targets=())


def _forked(job: dict) -> dict:
    reader, writer = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(job, writer)
    print(child, flush=True)
    os.close(writer)
    if job["seconds"] is not None:
        time.sleep(job["seconds"])
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as stream:
        said = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in {0, -signal.SIGKILL}:
        raise SystemExit(f"the run failed with {code}")
    return {"killed": code != 0, "seconds": time.monotonic() - begin, "events": json.loads(said or "[]")}


def _child(job: dict, writer: int) -> None:
    code = 1
    try:
        from loramerge import read_recipe, run
        from loramerge.files import atomic

        if not job["exchange"]:
            atomic._exchange = lambda *_: False
        recipe = read_recipe(job["recipe"])
        events = _watched(job["event"])
        run(recipe, out=job["out"], device="cpu")
        said = json.dumps(events)
        with os.fdopen(writer, "w") as stream:
            stream.write(said)
        code = 0
    except BaseException as error:  # noqa: BLE001  a fork must never come back
        traceback.print_exception(error)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watched(last: int | None) -> list[str]:
    """Note what changes something outside of this process, and kill it right before the event of a number."""
    events: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if event in _CHANGES or (event == "open" and _writes(*arguments)):
            if len(events) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            events.append(event)

    sys.addaudithook(hook)
    return events


def _writes(_path: object, _mode: object, flags: int | None) -> bool:
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
