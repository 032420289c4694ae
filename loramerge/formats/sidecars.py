"""What programs show of a LoRA beside its file: small files that are called after it.

`<name>.json` is read by A1111, Forge and SwarmUI (extensions-builtin/Lora/ui_edit_user_metadata.py of A1111), and
`<name>.metadata.json` by ComfyUI-Lora-Manager (py/utils/models.py), which leaves out a LoRA whose file lacks one of the
keys that stand for the file itself. All of them, and ComfyUI, show `<name>.preview.png`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.files.writing import writing

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels

A1111, LORA_MANAGER, PICTURE = ".json", ".metadata.json", ".preview.png"
LORA = ".safetensors"
_A1111_VERSIONS = {"sd15": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
_OF_THE_FILE = ("sha256", "size", "base_model")
"""What of LoRA Manager's keys is true of one file alone, whatever somebody writes beside it."""


def names(lora: str, *, pictured: bool) -> tuple[str, ...]:
    """What lies beside a LoRA's file.

    Args:
        lora: Name of the file.
        pictured: There is a picture.
    """
    stem = lora.removesuffix(LORA)
    return tuple(f"{stem}{ending}" for ending in (A1111, LORA_MANAGER, *([PICTURE] if pictured else [])))


def write(lora: Path, sha256: str, labels: Labels, base: Base, picture: Path | None) -> None:
    """Write the files beside a LoRA's, which is there.

    Args:
        lora: Its file.
        sha256: Of it.
        labels: What it says of itself.
        base: What it fits.
        picture: One that was drawn with it.

    Raises:
        LoramergeError: A file can't be written.
    """
    folder, stem = lora.parent, lora.name.removesuffix(LORA)
    with writing(folder):
        _write_json(folder / f"{stem}{A1111}", _for_a1111(labels, base))
        preview = f"{stem}{PICTURE}" if picture else ""
        _write_json(folder / f"{stem}{LORA_MANAGER}", _for_lora_manager(lora, sha256, labels, base, preview))
        if picture is not None:
            shutil.copyfile(picture, folder / preview)


def are_beside(files: Mapping[str, object]) -> frozenset[str]:
    """Which names are those of JSON files beside LoRAs, among files of one place.

    Args:
        files: By name.
    """
    loras = (name.removesuffix(LORA) for name in files if name.endswith(LORA))
    return frozenset(f"{stem}{ending}" for stem in loras for ending in (A1111, LORA_MANAGER)) & files.keys()


def is_readable(text: str) -> bool:
    """Whether a program can read it: one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def merged(ours: str, theirs: str) -> str:
    """Our file, with all that a program or its user wrote into an earlier one; facts of the LoRA's file are ours.

    Args:
        ours: What is to be written.
        theirs: What is there; one JSON object.
    """
    own, there = json.loads(ours), json.loads(theirs)
    return _text({**own, **there, **{key: own[key] for key in _OF_THE_FILE if key in own}})


def _for_a1111(labels: Labels, base: Base) -> dict[str, Any]:
    version = _A1111_VERSIONS.get(base.family.name)
    return {
        "description": labels.description,
        **({"sd version": version} if version else {}),
        "activation text": ", ".join(labels.trigger_phrases),
        "preferred weight": 1.0,
        "notes": _made_of(labels),
    }


def _for_lora_manager(lora: Path, sha256: str, labels: Labels, base: Base, preview: str) -> dict[str, Any]:
    return {
        "file_name": lora.name.removesuffix(LORA),
        "model_name": labels.name,
        "file_path": "",  # where it is published, the program itself finds out
        "size": lora.stat().st_size,
        "modified": 0.0,  # a time would be another one in each build
        "sha256": sha256,
        "base_model": base.family.civitai or "Unknown",
        "preview_url": preview,
        "from_civitai": False,
        "civitai": {"trainedWords": [*labels.trigger_phrases]},
        "modelDescription": labels.description,
        "notes": _made_of(labels),
        "usage_tips": json.dumps({"strength": 1.0}),
    }


def _made_of(labels: Labels) -> str:
    return f"Merged from {', '.join(labels.inputs)} by loramerge; recipe {labels.name}, sha256 {labels.recipe_sha256}"


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(_text(data), encoding="utf-8", newline="\n")


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
