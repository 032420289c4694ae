"""A Ray cluster of two nodes on this machine, each with one CPU."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_RAY = Path(sys.executable).with_name("ray")
_MARK = "LORAMERGE_TEST_CLUSTER"
_START = 120  # seconds, where others use the machine


@dataclass(frozen=True)
class RayCluster:
    """One that runs.

    Attributes:
        address: Of its head.
        folder: Where its logs lie.
        hidden: A folder that the second node does not see; None where the system does not let us hide it.
        mark: Value of a variable that all of its processes have.
    """

    address: str
    folder: Path
    hidden: Path | None
    mark: str

    def processes(self) -> Iterator[psutil.Process]:
        """All of its processes; a worker overwrites its variables with what it is called."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == self.mark:
                    yield process
                    yield from process.children()

    def worker(self, title: str) -> psutil.Process:
        """One that does something, found by what Ray calls it."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for process in self.processes():
                with suppress(psutil.Error):
                    if title in " ".join(process.cmdline()):
                        return process
            time.sleep(0.02)
        raise AssertionError(title)

    def kill(self) -> None:
        """End it: `ray stop` would end the clusters of others as well."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()


@contextmanager
def two_nodes(**variables: str) -> Iterator[RayCluster]:
    """Such a cluster, inside a `with`.

    Args:
        variables: Of the environment of all its processes, besides those of this one.
    """
    with ExitStack() as stack:
        for again in (True, True, False):
            try:
                cluster = stack.enter_context(_begun(variables))
                break
            except (AssertionError, subprocess.TimeoutExpired):  # somebody took a port, or the machine is too busy
                if not again:
                    raise
        yield cluster


@contextmanager
def _begun(variables: Mapping[str, str]) -> Iterator[RayCluster]:
    folder = Path(tempfile.mkdtemp(prefix="lm-", dir="/tmp"))  # sockets lie there, whose paths have to be short
    hidden = folder / "hidden"
    hidden.mkdir()
    hides = _can_hide(hidden)
    cluster = RayCluster(f"127.0.0.1:{_free_port()}", folder, hidden if hides else None, uuid.uuid4().hex)
    port = cluster.address.rpartition(":")[2]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "log").open("w") as log:
            head = _start(
                cluster, log, variables, "--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"
            )
            started.append(head)
            _wait_for(int(port))
            second = _start(cluster, log, variables, f"--address={cluster.address}", hide=hidden if hides else None)
            started.append(second)
            codes = head.wait(_START), second.wait(_START)
        assert codes == (0, 0), (folder / "log").read_text()
        yield cluster
    finally:
        cluster.kill()
        for each in started:
            each.kill()
            each.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    cluster: RayCluster, log: object, variables: Mapping[str, str], *options: str, hide: Path | None = None
) -> subprocess.Popen[bytes]:
    ports = (
        "dashboard-agent-grpc-port",
        "dashboard-agent-listen-port",
        "runtime-env-agent-port",
        "metrics-export-port",
    )
    fixed = [f"--{name}={_free_port()}" for name in ports]  # a node does not wait until they are chosen
    small = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    waits = {"RAY_agent_register_timeout_ms": f"{_START}000", "RAY_raylet_start_wait_time_s": str(_START)}
    command = [str(_RAY), "start", *options, *fixed, *small]
    return subprocess.Popen(
        [*_hiding(hide), *command] if hide else command,
        env={
            **os.environ,
            **variables,
            **waits,
            _MARK: cluster.mark,
            "RAY_AUTH_MODE": "disabled",
            "OMP_NUM_THREADS": "1",
        },
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _hiding(folder: Path) -> list[str]:
    """What comes before a command that is not to see what a folder holds."""
    own = "--mount" if os.geteuid() == 0 else "--mount --map-root-user"
    return ["unshare", *own.split(), "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder)]


def _can_hide(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_hiding(folder), "true"], capture_output=True, check=False).returncode == 0


def _free_port() -> int:
    """One that nobody has, out of the range that the system gives to those who ask for any."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), closing(socket.create_server(("", port))):
            return port


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), 1).close()
        time.sleep(0.05)
    raise AssertionError(port)
