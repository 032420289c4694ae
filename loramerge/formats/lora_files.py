"""Which files of a source make up its LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases import model_index
from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.fit import fit
from loramerge.errors import MismatchError, SourceError
from loramerge.files.pickles import PICKLES, conversion
from loramerge.formats.diffusers import FILE as DIFFUSERS_FILE
from loramerge.formats.peft import CONFIG, WEIGHTS
from loramerge.formats.reading import read_lora
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.bases.base import Base

_CHECKPOINT = re.compile(r"(^|/)checkpoint[-_]?\d+(/|$)")
_TRAINER = re.compile(
    r"(optimizer|scheduler|scaler|training_args|rng_state|random_states)[^/]*$"
)  # what it resumes from
_MLX = "adapters.safetensors"
_MOST = 12

Candidate = tuple[str, ...]
"""Names of the files of one LoRA, '/'-separated."""


class SeveralLorasError(SourceError):
    """A source holds several LoRAs, and nothing says which is meant.

    Args:
        reference: The source.
        candidates: The files of each.

    Attributes:
        candidates: The same.
        references: What means each of them alone, as far as anything does.
    """

    def __init__(self, reference: str, candidates: Sequence[Candidate]) -> None:
        self.references = tuple(f"{reference.rstrip('/')}/{_name(each)}" for each in candidates if _name(each))
        unnamed = (
            "" if len(self.references) == len(candidates) else "; the adapter at its top needs a folder of its own"
        )
        super().__init__(
            f"{reference} holds {len(candidates)} LoRAs: {some((_name(each) or CONFIG for each in candidates), _MOST)}",
            hint=f"name the one to use{unnamed}:\n    " + "\n    ".join(self.references[:_MOST]),
        )
        self.candidates = tuple(candidates)


def lora_files(reference: str, names: Sequence[str]) -> Candidate:
    """Which files of a source make up its LoRA.

    What lies at its top comes before what lies deeper, and both before a trainer's checkpoints.

    Args:
        reference: For messages.
        names: All files of the source, relative to it.

    Raises:
        SeveralLorasError: There are several to choose from.
        SourceError: There is none.
    """
    if len(names) == 1 and names[0].endswith(".safetensors"):
        return tuple(names)
    finished = [name for name in names if not _CHECKPOINT.search(name)]
    found = _uppermost(reference, finished)
    if not found and model_index.FILE not in names:
        found = _uppermost(reference, names)
    if len(found) > 1:
        raise SeveralLorasError(reference, found)
    if not found:
        raise _none(reference, names)
    return found[0]


def only_fitting(reference: str, folder: Path, candidates: Sequence[Candidate], base: Base) -> Candidate | None:
    """The one of several LoRAs that fits a base, by the names and shapes in its header; None if none or several do.

    Args:
        reference: The source.
        folder: Where its files lie.
        candidates: What there is to choose from.
        base: What it is to be merged for.
    """
    fitting = [each for each in candidates if _fits(reference, folder, each, base)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(reference: str, folder: Path, names: Candidate, base: Base) -> bool:
    try:
        fit(reference, read_lora(reference, folder, names, base)[1], base, skip=False)
    except (MismatchError, SourceError):
        return False
    return True


def _uppermost(reference: str, names: Sequence[str]) -> list[Candidate]:
    """All LoRAs of the uppermost level that has any."""
    if model_index.FILE in names:  # deeper lie the components of a pipeline
        return [*_in_folder(reference, "", names)]
    folders = sorted({name[: end + 1] for name in names for end in range(-1, len(name)) if end < 0 or name[end] == "/"})
    for depth in sorted({folder.count("/") for folder in folders}):
        level = [folder for folder in folders if folder.count("/") == depth]
        if found := [each for folder in level for each in _in_folder(reference, folder, names)]:
            return found
    return []


def _in_folder(reference: str, folder: str, names: Sequence[str]) -> Iterator[Candidate]:
    """The LoRAs of one folder: an adapter of PEFT's, for one component or for each a folder, and files."""
    adapter = [f"{folder}{part}" for part in ("", *(f"{name}/" for name in COMPONENTS))]
    adapter = [part for part in adapter if f"{part}{CONFIG}" in names]
    for part in adapter:
        _check_weights(reference, part, names)
    if adapter:
        yield tuple(f"{part}{file}" for part in adapter for file in (CONFIG, WEIGHTS))
    taken = f"{folder}{WEIGHTS}" if folder in adapter else ""
    files = [
        name
        for name in names
        if name.endswith(".safetensors") and name.rpartition("/")[0] == folder.rstrip("/") and name != taken
    ]
    preferred = f"{folder}{DIFFUSERS_FILE}"
    yield from ((name,) for name in ([preferred] if preferred in files and not adapter else files))


def _check_weights(reference: str, part: str, names: Sequence[str]) -> None:
    if f"{part}{WEIGHTS}" in names:
        return
    pickled = [name for name in names if name.startswith(f"{part}adapter_model") and name.endswith(PICKLES)]
    if pickled:
        raise _pickled(f"{reference}: the weights that belong to {part}{CONFIG} are in {pickled[0]}", pickled[0])
    if f"{part}{_MLX}" in names:
        raise SourceError(
            f"{reference} is an adapter of MLX ({part}{_MLX}), whose names and scales are its own",
            hint="have PEFT's form of it written: keys base_model.model.….lora_A.weight, both factors transposed, "
            "lora_alpha = scale·rank",
        )
    files = [name for name in names if name.startswith(part) and name.endswith(".safetensors")]
    raise SourceError(
        f"{reference} has {part}{CONFIG} but no {part}{WEIGHTS}",
        hint=f"fetch the adapter again{', or name the file that is meant: ' + some(files) if files else ''}",
    )


def _none(reference: str, names: Sequence[str]) -> SourceError:
    if model_index.FILE in names:
        return SourceError(
            f"{reference} is a whole pipeline, a base and no LoRA",
            hint="it is what `base: source:` of a recipe and --base take; name the LoRA that belongs to it here",
        )
    pickles = [name for name in names if name.endswith(PICKLES) and not _TRAINER.search(name)]
    if pickles:
        return _pickled(f"{reference} has its weights in pickles only ({some(pickles)})", pickles[0])
    if len(names) == 1:
        return _no_lora_file(reference, names[0])
    seen = some(names) or "none"
    return SourceError(f"{reference} holds no LoRA: no {CONFIG} and no safetensors file (found {seen})")


def _no_lora_file(reference: str, name: str) -> SourceError:
    is_recipe = name.endswith((".yaml", ".yml"))
    return SourceError(
        f"{reference} is no LoRA: its name does not end in .safetensors",
        hint="`loramerge run` takes recipes"
        if is_recipe
        else "name a .safetensors file, or the folder of a PEFT adapter",
    )


def _pickled(what: str, name: str) -> SourceError:
    return SourceError(f"{what}: a pickle can run code when it is opened, and is refused", hint=conversion(name))


def _name(candidate: Candidate) -> str:
    """What a recipe adds to the source to mean one LoRA; empty for an adapter of PEFT's at its top."""
    if len(candidate) == 1:
        return candidate[0]
    folders = {name.rpartition("/")[0] for name in candidate}
    return folders.pop() if len(folders) == 1 else min(folders, key=len).rpartition("/")[0]
