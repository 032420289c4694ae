"""Two files, or two adapters, that may differ by rounding: how far they are apart, and how far they may be.

Measures are relative Frobenius errors, but for pictures, where it is the mean difference of the pixels.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.analysis.fidelity import measure, total
from loramerge.errors import SourceError
from loramerge.files.reading import content_of, text_of
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from PIL import Image

    from loramerge.adapter import Adapter
    from loramerge.analysis.fidelity import ModuleFidelity

# Factors are rounded to the file's format after a decomposition that may turn them within their span.
ADAPTER_TOLERANCE = {"F32": 1e-4, "F16": 1e-3, "BF16": 8e-3}
TENSOR_TOLERANCE = 1e-4
PICTURE_TOLERANCE = 0.01
_NUMBER_RELATIVE, _NUMBER_ABSOLUTE = 1e-3, 1e-5
_NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_LIBRARIES = ("config.json", "model_index.json")
_OF_THE_TENSORS = {
    "modelspec.hash_sha256",
    "sshs_model_hash",
    "sshs_legacy_hash",
    "ss_network_dim",
    "ss_network_alpha",
    "lora_adapter_metadata",
}
# What a library writes about itself, and what the report says of the machine.
_OF_THE_ENVIRONMENT = {"_diffusers_version", "transformers_version", "peft_version", "environment"}


@dataclass(frozen=True)
class Distance:
    """How far apart two things are.

    Attributes:
        what: What was measured, in words.
        value: The measure; infinite where they can't be compared.
        tolerance: The largest value that is put down to rounding.
    """

    what: str
    value: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether it is put down to rounding."""
        return self.value <= self.tolerance


UNREADABLE = Distance("content that can be read", math.inf, 0.0)


def adapters(old: Adapter, new: Adapter, dtype: str, *, same_program: bool = True) -> Distance:
    """Compare two LoRAs by their deltas, component by component; the largest distance counts.

    What lies beside the deltas, and what the files say of themselves, has to be the same.

    Args:
        old: What `new` is measured against.
        new: The other one.
        dtype: Number format of the files, as safetensors spells it.
        same_program: As for `files`.
    """
    said = _say_the_same(old.metadata, new.metadata, same_program=same_program)
    if not said or not old.equals_beside_pairs(new):
        return Distance("metadata, or what lies beside the deltas", math.inf, 0.0)
    value = math.inf
    if [entry[:2] for entry in old] == [entry[:2] for entry in new]:
        measured = measure(new, {"old": (old, lambda *_: 1.0)})
        value = _largest(_relative(modules) for modules in measured.values())
    tolerance = ADAPTER_TOLERANCE.get(dtype, ADAPTER_TOLERANCE["F32"])
    return Distance("relative error of the deltas", value, tolerance)


def _relative(modules: Mapping[str, ModuleFidelity]) -> float:
    """The relative error of a component; of one that was zero any difference is infinite."""
    error = total(modules)
    if error is not None:
        return error
    return math.inf if any(each.difference for each in modules.values()) else 0.0


def _say_the_same(old: Mapping[str, str], new: Mapping[str, str], *, same_program: bool) -> bool:
    """Whether two files say the same of themselves, but for what follows from their tensors."""
    keys = (old.keys() | new.keys() if same_program else old.keys() & new.keys()) - _OF_THE_TENSORS
    return all(old.get(key) == new.get(key) for key in keys)


def files(old: Path, new: Path, *, same_program: bool = True) -> Distance:
    """Compare two files of the same name by what they mean; those of an unknown kind are equal or not.

    Args:
        old: What `new` is measured against.
        new: The other one.
        same_program: One version of loramerge wrote both. Else either may say what the other does not.
    """
    try:
        match new.suffix:
            case ".safetensors":
                return _tensors(old, new, same_program=same_program)
            case ".json":
                return _json(old, new, defaults=not same_program or new.name.endswith(_LIBRARIES))
            case ending:
                return _BY_ENDING.get(ending, _bytes)(old, new)
    except (ValueError, OSError, SourceError):
        return UNREADABLE


def _tensors(old: Path, new: Path, *, same_program: bool) -> Distance:
    what = "relative error of the tensors"
    one, other = opened(old), opened(new)
    if one.keys != other.keys or any(
        (one.shape(key), one.dtype(key)) != (other.shape(key), other.dtype(key)) for key in one.keys
    ):
        return Distance(what, math.inf, TENSOR_TOLERANCE)
    if not _say_the_same(one.metadata, other.metadata, same_program=same_program):
        return Distance("metadata", math.inf, 0.0)
    errors = []
    for key in one.keys:
        before, after = one.tensor(key).read().double(), other.tensor(key).read().double()
        size, difference = float(before.norm()), float((after - before).norm())
        errors.append(difference / size if size > 0 else math.inf * difference if difference else 0.0)
    return Distance(what, _largest(errors), TENSOR_TOLERANCE)


def _largest(values: Iterable[float]) -> float:
    """The largest value; infinite where one is no number, which `max` may pass over."""
    return max((math.inf if math.isnan(value) else value for value in values), default=0.0)


def _pictures(old: Path, new: Path) -> Distance:
    import numpy as np
    from PIL import Image

    what = "mean difference of the pixels"
    try:
        with Image.open(old) as one, Image.open(new) as other:
            if (one.size, one.mode, _settings(one)) != (other.size, other.mode, _settings(other)):
                return Distance(what, math.inf, PICTURE_TOLERANCE)  # nothing was unpacked, however large it may be
            before, after = (np.asarray(picture, dtype=np.float64) for picture in (one, other))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # the old one is a stranger's
        return Distance(what, math.inf, PICTURE_TOLERANCE)
    return Distance(what, float(np.abs(before - after).mean()) / 255, PICTURE_TOLERANCE)


def _settings(picture: Image.Image) -> dict[Any, Any]:
    return {key: value for key, value in picture.info.items() if key not in _OF_THE_ENVIRONMENT}


def _json(old: Path, new: Path, *, defaults: bool) -> Distance:
    one, other = (json.loads(text_of(path)) for path in (old, new))
    return Distance("values that differ", float(_differing(one, other, defaults=defaults)), 0.0)


def _differing(old: Any, new: Any, *, defaults: bool = False) -> int:
    """How many values of two JSON documents differ.

    Args:
        old: The one.
        new: The other.
        defaults: A key that only one has is a library's new or old default.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        shared = old.keys() & new.keys() - _OF_THE_ENVIRONMENT
        alone = 0 if defaults else len((old.keys() ^ new.keys()) - _OF_THE_ENVIRONMENT)
        return alone + sum(_differing(old[key], new[key], defaults=defaults) for key in shared)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return sum(_differing(*two, defaults=defaults) for two in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, float):
        return int(not math.isclose(old, new, rel_tol=_NUMBER_RELATIVE, abs_tol=_NUMBER_ABSOLUTE))
    return int(old != new)


def _prose(old: Path, new: Path) -> Distance:
    """A text is compared word by word, its numbers as those of JSON are: a model card shows the fidelity."""
    return _words(*(text_of(path) for path in (old, new)))


def _pages(old: Path, new: Path) -> Distance:
    """What report.html says: its words, and the numbers behind those that it shows.

    Plots are drawn from these numbers, and pictures are files of their own; what computed it may be something else.
    """
    return _words(*(_said(text_of(path)) for path in (old, new)))


def _said(page: str) -> str:
    """The page without its drawings and pictures; a number that it shows short has its digits in `<data value>`."""
    drawn = r'<svg\b.*?</svg>|(?<=src=")data:[^"]*|<dl [^>]*data-of="environment">.*?</dl>'
    return re.sub(r'<data value="([^"]*)">.*?</data>', r"\1", re.sub(drawn, "", page, flags=re.DOTALL))


def _words(old: str, new: str) -> Distance:
    one, other = re.split(_NUMBER, old), re.split(_NUMBER, new)
    if one[::2] != other[::2]:
        return Distance("words that differ", math.inf, 0.0)
    pairs = zip(one[1::2], other[1::2], strict=True)
    return Distance("numbers that differ", float(sum(_differing(float(a), float(b)) for a, b in pairs)), 0.0)


def _bytes(old: Path, new: Path) -> Distance:
    return Distance("bytes", 0.0 if content_of(old) == content_of(new) else math.inf, 0.0)


_BY_ENDING: Mapping[str, Callable[[Path, Path], Distance]] = {
    ".png": _pictures,
    ".jpg": _pictures,
    ".md": _prose,
    ".html": _pages,
}
