"""Where a LoRA is to go that has no artifact around it, and what may be replaced there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from loramerge.artifact.contents import check_length
from loramerge.errors import LoramergeError, SourceError
from loramerge.files.digest import files_of
from loramerge.formats.embeddings import FOLDER
from loramerge.formats.lora_files import SeveralLorasError, lora_files
from loramerge.formats.peft import CONFIG, WEIGHTS
from loramerge.messages import some

_ANOTHER = "choose another with -o"


def check_lora_place(place: Path, *, force: bool, inputs: Iterable[Path] = (), old: Path | None = None) -> None:
    """Refuse to replace anything where a LoRA is to go, but by wish a file, or a folder that holds a LoRA alone.

    Args:
        place: Where the LoRA is to go.
        force: Replace what is there.
        inputs: What must never be replaced, even then; the current folder and the home folder are such as well.
        old: Where what was at `place` is now; by default there.

    Raises:
        UsageError: Its path is too long.
        LoramergeError: Something else is there, or the same and it is not to be replaced.
    """
    check_length(place, "-o")
    old = old or place
    for each in inputs:
        if each.resolve().is_relative_to(place.resolve()):
            raise LoramergeError(f"{place} is one of the LoRAs or models that go in, or holds one", hint=_ANOTHER)
    for each in (Path.cwd(), Path.home()):
        if each.resolve().is_relative_to(place.resolve()):
            raise LoramergeError(
                f"{place} is no folder of its own, and a LoRA replaces its folder", hint="give a name with -o"
            )
    if not os.path.lexists(old) or (old.is_dir() and not any(old.iterdir())):
        return
    if not (old.is_file() or old.is_dir()):
        raise LoramergeError(f"{place} is neither a file nor a folder", hint=_ANOTHER)
    foreign = [] if old.is_file() else _foreign(place, old)
    if old.is_file() is not (place.suffix == ".safetensors") or foreign:
        what = "a file" if old.is_file() else f"a folder with {some(foreign)}" if foreign else "a folder"
        raise LoramergeError(f"{place} is {what}", hint=_ANOTHER)
    if not force:
        raise LoramergeError(f"{place} exists", hint=f"{_ANOTHER}, or replace it with --force")


def _foreign(place: Path, folder: Path) -> list[str]:
    """The files of a folder that are no part of the one adapter of PEFT's that it holds."""
    names = sorted(name for name in files_of(folder) if not _is_embedding(name))
    try:
        held = {name for name in lora_files(str(place), names) if PurePosixPath(name).name in {CONFIG, WEIGHTS}}
    except SeveralLorasError as error:
        raise LoramergeError(
            f"{place} holds several LoRAs: {some(map(str, error.references))}", hint=_ANOTHER
        ) from None
    except SourceError:
        held = set()
    return [name for name in names if name not in held]


def _is_embedding(name: str) -> bool:
    path = PurePosixPath(name)
    return str(path.parent) == FOLDER and path.suffix == ".safetensors"
