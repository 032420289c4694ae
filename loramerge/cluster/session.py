"""A process of its own that talks to Ray.

Ray writes to standard output and error as it likes, takes over signals, waits for minutes for a cluster that is not
there, and ends the process when it loses one. None of that reaches the process that asks.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loramerge.artifact.environment import versions
from loramerge.cluster.connect import connected
from loramerge.cluster.task import Ask, ClusterRefusal, ClusterTask, Ended, Needs
from loramerge.cluster.work import BEGUN, DONE, REFUSED, work
from loramerge.errors import ExitCode, LoramergeError
from loramerge.files.interrupts import at_once

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_RETRIES = 3
_LOOK = 5.0  # seconds after which it is looked again whether somebody can do what waits


def serve(connection: Connection, address: str) -> None:
    """Do what is asked, until nobody asks any more.

    Args:
        connection: Gives what is asked for, and takes what comes of it.
        address: Of the cluster, or `local`.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # who asks says what ^C means; ignored, it would be so in workers
    at_once(signal.SIGINT)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    try:
        with connected(address) as said:
            connection.send(said)
            asyncio.run(_Session(connection).serve())
    except LoramergeError as error:
        connection.send(ClusterRefusal(error.message, error.hint))
    except Exception as error:  # noqa: BLE001  a defect is told where somebody sees it
        connection.send(ClusterRefusal(f"what talks to Ray can't go on: {type(error).__name__}: {error}"))


class _Session:
    """Tasks that Ray has, and what comes of them."""

    def __init__(self, connection: Connection) -> None:
        import ray

        self._ray, self._connection, self._versions = ray, connection, versions()
        self._work: Any = ray.remote(num_returns="streaming", max_retries=_RETRIES)(work)
        self._given: dict[int, tuple[Any, Needs]] = {}
        self._begun: dict[int, tuple[str, int]] = {}
        self._followers: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take what is asked for, and follow what was given to Ray."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._take, ended)
        looking = asyncio.create_task(self._look())
        done, _ = await asyncio.wait({ended, looking}, return_when=asyncio.FIRST_COMPLETED)
        self._cancel([*self._given], force=True)
        looking.cancel()
        for each in done:
            each.result()

    def _take(self, ended: asyncio.Future[None]) -> None:
        """Do what is asked now; nobody asks any more when the other end is closed."""
        try:
            self._do(self._connection.recv())
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            ended.set_result(None)
        except Exception as error:  # noqa: BLE001  told by who waits for the end
            ended.set_exception(error)

    def _do(self, asked: tuple[Any, ...]) -> None:
        match asked:
            case (Ask.GIVE, key, task):
                self._give(key, task)
            case (Ask.RECALL,):
                self._cancel([key for key in self._given if key not in self._begun])
            case _:
                self._cancel([*self._given])

    def _give(self, key: int, task: ClusterTask) -> None:
        nodes = self._nodes()
        if refusal := _impossible(task.needs, nodes):
            self._connection.send(Ended(key, refusal=refusal))
            return
        wanted = task.needs.resources(with_gpus=_have_gpus(nodes))
        options = {"name": task.name, "num_cpus": wanted["CPU"], "num_gpus": wanted["GPU"], "memory": wanted["memory"]}
        asked = self._versions, task.folder, dict(task.there), dict(task.same), task.call
        generator = self._work.options(**options).remote(*asked)
        self._given[key] = generator, task.needs
        follower = asyncio.create_task(self._follow(key, generator))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)

    async def _follow(self, key: int, generator: Any) -> None:
        from ray.exceptions import TaskCancelledError

        answer: tuple[Any, ...] = ()
        try:
            async for reference in generator:
                answer = await reference
                if answer[0] == BEGUN:
                    self._begun[key] = answer[1]
            ended = self._ended(key, answer)
        except TaskCancelledError:
            ended = self._taken_back(key)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for an answer
            ended = Ended(key, refusal=_lost(error))
        if self._given.pop(key, None) is not None:
            self._connection.send(ended)

    def _ended(self, key: int, answer: tuple[Any, ...]) -> Ended:
        match answer:
            case (str(kind), message, hint, code) if kind == REFUSED:
                return Ended(key, refusal=ClusterRefusal(message, hint, ExitCode(code)))
            case (str(kind), who, value) if kind == DONE:
                first, note = self._begun.get(key, who), ""
                if who != first:
                    note = f"the worker that had it, on {first[0]}, was lost, and it was done again on {who[0]}"
                return Ended(key, value, note=note)
            case _:  # it was cancelled when it had just begun
                return self._taken_back(key)

    def _taken_back(self, key: int) -> Ended:
        refusal = ClusterRefusal("it was interrupted when others were taken back")
        return Ended(key, refusal=refusal if key in self._begun else None)

    def _cancel(self, keys: list[int], *, force: bool = False) -> None:
        for key in keys:
            generator, _ = self._given[key]
            self._ray.cancel(generator, force=force)

    async def _look(self) -> None:
        """Give up what no node can do any more."""
        while True:
            await asyncio.sleep(_LOOK)
            nodes = self._nodes()
            for key, (generator, needs) in [*self._given.items()]:
                if refusal := _impossible(needs, nodes):
                    del self._given[key]
                    self._ray.cancel(generator)
                    self._connection.send(Ended(key, refusal=refusal))

    def _nodes(self) -> list[Mapping[str, float]]:
        """What each node that is alive has."""
        return [each["Resources"] for each in self._ray.nodes() if each["Alive"]]


def _have_gpus(nodes: list[Mapping[str, float]]) -> bool:
    return any(each.get("GPU", 0) >= 1 for each in nodes)


def _impossible(needs: Needs, nodes: list[Mapping[str, float]]) -> ClusterRefusal | None:
    """Why no node can ever do a task."""
    wanted = needs.resources(with_gpus=_have_gpus(nodes))
    if any(all(node.get(name, 0) >= count for name, count in wanted.items()) for node in nodes):
        return None
    gpus = f"{wanted['GPU']:.0f} GPU, " if wanted["GPU"] else ""
    asked = f"{wanted['CPU']:.0f} CPU, {gpus}{needs.memory / 2**30:.1f} GiB of memory"
    return ClusterRefusal(
        f"no node of the cluster has {asked}, which it needs; there are {len(nodes)}",
        "add such a node, or start one with more, as by `ray start --num-cpus=… --memory=…`; --device cpu needs no GPU",
    )


def _lost(error: Exception) -> ClusterRefusal:
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

    match error:
        case OutOfMemoryError():
            said, hint = "its node had too little memory", "run it again with fewer --jobs"
        case NodeDiedError() | WorkerCrashedError():
            said, hint = f"its worker was lost, and {_RETRIES} others after it", "it may take too much memory"
        case RayTaskError():
            why = str(error).strip().splitlines()[-1]
            said, hint = f"a worker can't do it: {why}", "install on every node what is installed here"
        case _:
            said, hint = f"{type(error).__name__}: {error}", ""
    return ClusterRefusal(said, hint)
