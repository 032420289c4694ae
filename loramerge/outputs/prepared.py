"""Fused outputs before anything of them is written: several that have the same tensors share a pass over the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.passing_digest import PORTION, PassingDigest
from loramerge.files.reflink import copy, copying
from loramerge.files.writing import check_room, writing
from loramerge.tensor_files import shards
from loramerge.tensor_files.new_files import NewFile, Variant
from loramerge.tensor_files.stream import write_variants

if TYPE_CHECKING:
    from loramerge.tensor_files.fuse_plan import TensorChange
    from loramerge.tensor_files.rounding_loss import RoundingLoss


@dataclass(frozen=True)
class OutputWeights:
    """The weights of a component, or all that an output has.

    Attributes:
        folder: Where to; it exists when they are written.
        place: The same below the output's folder, with a '/' at its end; empty where it is that.
        files: Of which they consist.
        copied: The file that they stay; None where they are computed.
        index: Name of the list of shards, where there are several.
    """

    folder: Path
    place: str
    files: tuple[NewFile, ...]
    copied: Path | None = None
    index: str = ""

    @classmethod
    def sharded(
        cls, planned: Sequence[TensorChange], source: Path, largest: int, folder: Path, place: str = ""
    ) -> OutputWeights:
        """As `save_pretrained` splits them.

        Args:
            planned: All tensors of a component; at least one.
            source: The first of the base's files, after which these are called.
            largest: Bytes that a shard holds.
            folder: Where to.
            place: The same below the output's folder.
        """
        stem = "model" if source.name.startswith("model") else "diffusion_pytorch_model"
        parts = shards.split(planned, largest)
        names = shards.names(stem, len(parts))
        files = tuple(NewFile(folder / name, part) for name, part in zip(names, parts, strict=True))
        # One file that stays what it is may take no room on the disk.
        plain = all(change.is_plain and change.stored.path == source for change in planned)
        return cls(
            folder, place, files, source if plain and len(parts) == 1 else None, f"{stem}.safetensors.index.json"
        )

    @property
    def size(self) -> int:
        """Bytes that they take; none where a file stays what it is."""
        return 0 if self.copied else sum(file.size for file in self.files)

    @property
    def tensors(self) -> tuple[tuple[Path, str], ...]:
        """Which tensors they are made of, in their order."""
        return tuple((change.stored.path, change.stored.key) for file in self.files for change in file.changes)

    def copy(self) -> dict[str, str]:
        """Copy the file that stays what it is; its digest is the base's, by its name below the output's folder.

        Where nobody knows that yet, it is taken of each portion when that was copied, and is in the system's cache.
        """
        assert self.copied is not None  # noqa: S101  whoever calls it has looked
        (file,) = self.files
        there = file.changes[0].stored.place
        if (known := there.known_digest()) is None:
            passing = PassingDigest(there)
            for end in copying(self.copied, file.path, PORTION):
                passing.read_up_to(end)
            known = passing.settled()
        else:
            copy(self.copied, file.path)
            there.check()  # what was copied is what was hashed
        return {f"{self.place}{file.path.name}": known.sha256}

    def write_index(self) -> None:
        """Write the list of shards, where there are several."""
        if len(self.files) > 1:
            where = {change.stored.key: file.path.name for file in self.files for change in file.changes}
            text = shards.index(where, sum(file.size for file in self.files))
            (self.folder / self.index).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class PreparedOutput:
    """A fused output that can be written.

    Attributes:
        folder: Where to; it exists and is empty.
        settings: Writes all but the weights, and makes their folders.
        weights: The weights.
        loss: Told of sums that are rounded to 8 bits.
    """

    folder: Path
    settings: Callable[[], None]
    weights: tuple[OutputWeights, ...]
    loss: RoundingLoss | None = None

    @property
    def changes(self) -> list[TensorChange]:
        """What becomes of every tensor."""
        return [change for weights in self.weights for file in weights.files for change in file.changes]


def write_prepared(outputs: Sequence[PreparedOutput]) -> list[dict[str, str]]:
    """Write outputs; what is made of the same tensors in the same order is read once.

    Args:
        outputs: At least one.

    Returns:
        Of each, SHA-256 of the files of weights, by their '/'-separated names below its folder.

    Raises:
        SourceError: The base's files can't be read, or are no longer what they were.
        LoramergeError: A sum does not fit its dtype, or something can't be written.
    """
    check_room(outputs[0].folder, sum(weights.size for output in outputs for weights in output.weights))
    digests: list[dict[str, str]] = [{} for _ in outputs]
    copied: list[tuple[int, OutputWeights]] = []
    together: dict[tuple[tuple[Path, str], ...], list[tuple[int, OutputWeights]]] = {}
    for number, output in enumerate(outputs):
        with writing(output.folder):
            output.settings()
            for weights in output.weights:
                if weights.copied:
                    copied.append((number, weights))
                else:
                    weights.write_index()
                    together.setdefault(weights.tensors, []).append((number, weights))
    for group in together.values():
        with writing(outputs[group[0][0]].folder):
            found = write_variants([Variant(weights.files, outputs[number].loss) for number, weights in group])
        for (number, weights), written in zip(group, found, strict=True):
            names = (f"{weights.place}{file.path.name}" for file in weights.files)
            digests[number] |= dict(zip(names, written, strict=True))
    for number, weights in copied:  # what another output is made of has its digest by now
        with writing(outputs[number].folder):
            digests[number] |= weights.copy()
    return digests
