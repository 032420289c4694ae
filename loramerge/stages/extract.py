"""Stage: a LoRA of the difference of a model and the recipe's base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases.base import read_base, single_file
from loramerge.bases.from_file import base_of_file
from loramerge.errors import SourceError
from loramerge.extraction.cut import Cut
from loramerge.extraction.extract import extract
from loramerge.extraction.weights import weights_of
from loramerge.files.file_view import FileBytes
from loramerge.formats.spelling import spelled
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from loramerge.adapter import LowRank
    from loramerge.bases.base import Base
    from loramerge.extraction.extraction import Extracted
    from loramerge.progress import Progress
    from loramerge.recipe.parts import Extract
    from loramerge.sources import Located
    from loramerge.stages.bind import BaseWeights


def extracted(
    wanted: Extract,
    located: Located,
    names: Sequence[str],
    base: BaseWeights,
    keep: Callable[[LowRank], LowRank],
    progress: Progress,
) -> Extracted:
    """The LoRA that a recipe wants of a model.

    The last ones are kept for as long as the program runs: recipes of one call that want the same of the same files
    read these once.

    Args:
        wanted: What the recipe says.
        located: Where the model is.
        names: Its files there.
        base: What it was trained from.
        keep: Puts a pair where it is to wait, and gives it back from there.
        progress: Told of every layer.

    Raises:
        SourceError: A file can't be had or read, holds NaN or infinity, or is no model.
        MismatchError: It is another model than the base, or equal to it.
    """
    folder = located.fetch(names)
    cut = Cut(wanted.rank, wanted.energy, wanted.parameters)
    places = (*(folder / name for name in names), *(base.folder / name for name in base.names))
    key = (located.reference, base.base.reference, cut.key, *(FileBytes.at(each, str(each)).version for each in places))
    made = _latest.pop(key, None)
    if made is None:
        tuned = weights_of(_model_at(located, folder, names, base.base), folder, names)
        made = extract(tuned, base.found, cut, keep=keep, progress=progress)
    _latest[key] = made
    while len(_latest) > _MOST_KEPT:
        del _latest[next(iter(_latest))]
    return made


_MOST_KEPT = 2
_latest: dict[Any, Extracted] = {}


def _model_at(located: Located, folder: Path, names: Sequence[str], base: Base) -> Base:
    """What the model is: by its configs; of one file, what the base is."""
    file = single_file(located)
    if file is None:
        return read_base(located.reference, folder, names)
    keys = opened(folder / file, located.reference).keys
    if lora := next((key for key in keys if spelled(key) is not None), None):
        raise SourceError(
            f"{located.reference} is a LoRA, and a whole model is wanted to extract one from: {lora} is among its "
            "tensors",
            hint="name it as `source:` of the recipe, or merge it with `loramerge merge`",
        )
    hint = "name a model that was trained from the base, or the base that it was trained from"
    return base_of_file(located.reference, folder / file, base, "the base is", hint)
