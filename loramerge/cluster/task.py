"""What is asked of a cluster, and what comes back: plain data, on its way between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from loramerge.errors import ExitCode, LoramergeError


class Ask(Enum):
    """What the process that talks to Ray is asked for."""

    GIVE = "give"
    RECALL = "recall"
    INTERRUPT = "interrupt"


@dataclass(frozen=True)
class Needs:
    """What a node has to have for a task.

    Attributes:
        memory: Bytes.
        device: `cuda` wants a GPU, `auto` wants one where the cluster has any, `cpu` wants none.
        cpus: How many cores it computes on.
    """

    memory: int
    device: str = "cpu"
    cpus: int = 1

    def resources(self, *, with_gpus: bool) -> dict[str, float]:
        """The same as Ray counts it.

        Args:
            with_gpus: Whether the cluster has any.
        """
        gpus = 1.0 if self.device == "cuda" or (self.device == "auto" and with_gpus) else 0.0
        return {"CPU": float(self.cpus), "GPU": gpus, "memory": float(self.memory)}


@dataclass(frozen=True)
class ClusterTask:
    """A call that any node may make, and make again where the first one is lost.

    Attributes:
        name: What Ray shows of it; no secret.
        call: Takes nothing, and gives what can be pickled.
        needs: What the node has to have.
        folder: Where it runs; None if that is the same everywhere.
        there: Files and folders that the node has to see → what they are, in words.
        same: Files that it has to see as they are here → their SHA-256.
    """

    name: str
    call: bytes = field(repr=False)
    needs: Needs
    folder: str | None = None
    there: Mapping[str, str] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterRefusal:
    """Why nothing came of a task, or of the whole cluster.

    Attributes:
        message: What is wrong, and where.
        hint: What to do about it.
        code: What the shell is told.
    """

    message: str
    hint: str = ""
    code: ExitCode = ExitCode.FAILED

    def error(self, what: str = "") -> LoramergeError:
        """The same as an error.

        Args:
            what: Came of it, before the reason.
        """
        error = LoramergeError(f"{what}{self.message}", hint=self.hint)
        error.exit_code = self.code
        return error


@dataclass(frozen=True)
class Ended:
    """What came of a task.

    Attributes:
        key: Which.
        value: What its call gave, pickled; None where there is a refusal, and where nobody had begun it.
        refusal: Why nothing came of it.
        note: What is to be said of it: that it was done again.
    """

    key: int
    value: bytes | None = None
    refusal: ClusterRefusal | None = None
    note: str = ""
