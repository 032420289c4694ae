"""Between loramerge's canonical form and the plain pairs that the other test helpers speak."""

from functools import cache
from pathlib import Path

import tiny
from pairs import Pairs

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import Base, read_base
from loramerge.formats.lora_files import lora_files
from loramerge.formats.reading import read_lora
from loramerge.outputs.fuse import fuse as plan_fused
from loramerge.outputs.prepared import write_prepared


@cache
def base_of(family: str) -> Base:
    return read_base(family, tiny.folder(family))


def adapter_of(pairs: Pairs) -> Adapter:
    return Adapter(
        {
            component: {name: LowRank(down, up, alpha / down.shape[0]) for name, (down, up, alpha) in modules.items()}
            for component, modules in pairs.items()
        }
    )


def deltas_of(adapter: Adapter):
    return {
        component: {name: pair.delta() for name, pair in modules.items()}
        for component, modules in adapter.components.items()
    }


def read(path: Path, base: Base) -> Adapter:
    folder, names = (path, files_of(path)) if path.is_dir() else (path.parent, [path.name])
    return read_lora(str(path), folder, lora_files(str(path), names), base)[1]


def fuse(*given, **named) -> dict[str, str]:
    """Write the fused pipeline of one output, without the stages around it."""
    return write_prepared([plan_fused(*given, **named)])[0]


def files_of(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
