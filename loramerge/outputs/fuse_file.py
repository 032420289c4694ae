"""Fuse a merged LoRA into a base that is one file: what comes out is the same file but for what the LoRA touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from loramerge.bases.precision import stays_in_file
from loramerge.errors import MismatchError, SourceError
from loramerge.messages import by, some
from loramerge.outputs.prepared import OutputWeights, PreparedOutput
from loramerge.tensor_files.fuse_plan import RowDelta, changes, keys_of, stored_in, with_shares
from loramerge.tensor_files.new_files import NewFile
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loramerge.adapter import LowRank
    from loramerge.bases.base import Base
    from loramerge.bases.checkpoint import Checkpoint, WeightPlace
    from loramerge.formats.output import MergeResult
    from loramerge.outputs.fused import FusedOutput
    from loramerge.tensor_files.fuse_plan import TensorChange
    from loramerge.tensor_files.rounding_loss import RoundingLoss

_NO_LONGER_TRUE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
"""Metadata that tell the digest of the tensors as they were."""


def name_of(recipe: str) -> str:
    """What the file is called: after the recipe."""
    return f"{recipe}.safetensors"


def check_places(base: Base, checkpoint: Checkpoint, components: Sequence[str]) -> None:
    """Raise where the file does not hold a component that LoRAs touch.

    Raises:
        MismatchError: Names it.
    """
    if lacking := [name for name in components if name not in checkpoint.parts]:
        raise MismatchError(
            f"{base.reference} holds no {some(lacking)}, which LoRAs touch",
            hint="choose a file with it inside, or leave these modules out with `unmatched: skip` at the LoRA",
        )


def fuse_file(
    result: MergeResult, checkpoint: Checkpoint, output: FusedOutput, folder: Path, loss: RoundingLoss | None = None
) -> PreparedOutput:
    """Plan the fused file.

    Names, order and metadata are those of the base's file, and so are all bytes of the tensors that the LoRA does not
    touch, unless the output has a number format of its own. Where it touches one, the sum is formed in float32 and
    rounded once.

    Args:
        result: The base, its file, and what is fused in.
        checkpoint: How the file names what it holds.
        output: dtype and scale.
        folder: Where to; it exists.
        loss: Told of sums that are rounded to 8 bits.

    Raises:
        SourceError: The base's file is damaged, or lacks a tensor that the LoRA touches.
    """
    base, shown = result.base, result.base.reference
    path = result.base_files.folder / checkpoint.file
    stored = stored_in((path,), shown)
    stay = stays_in_file(base.components, checkpoint, output.dtype, keys_of(stored)) if output.dtype else ()
    planned = changes(stored, output.stored_as, shown, stay)
    by_key = {change.stored.key: change for change in sorted(planned, key=_as_it_lies)}
    for component, modules in result.adapter.components.items():
        part, known = checkpoint.parts[component], base.components[component]
        is_layers = known.modules.keys() >= modules.keys()
        places = part.places(known.modules) if is_layers else part.places_of(known.parameters)
        for module, pair in modules.items():
            place = places[module]
            change = _found(by_key, place, shown, f"{component}.{module}")
            shares = _shares(place, pair.times(output.lora_scale))
            by_key[place.key] = with_shares(change, shares, shown, f"{component}.{module}")
    said = {key: text for key, text in opened(path, shown).metadata.items() if key not in _NO_LONGER_TRUE}
    file = NewFile(folder / name_of(result.labels.name), [*by_key.values()], {**said, **result.labels.origin()})
    return PreparedOutput(folder, lambda: None, (OutputWeights(folder, "", (file,)),), loss)


def _as_it_lies(change: TensorChange) -> tuple[int, int]:
    return change.stored.offset, change.stored.size


def _found(by_key: Mapping[str, TensorChange], place: WeightPlace, shown: str, module: str) -> TensorChange:
    change = by_key.get(place.key)
    if change is None:
        raise SourceError(
            f"{shown} has no tensor {place.key}, which is {module} in its names",
            hint="name the config of the model that it was made from as `base.config:`",
        )
    if change.stored.shape != place.shape:
        raise SourceError(
            f"{shown}: {place.key} is {by(change.stored.shape)}, and {module} makes it {by(place.shape)}",
            hint="name the config of the model that it was made from as `base.config:`",
        )
    return change


def _shares(place: WeightPlace, pair: LowRank) -> Iterator[RowDelta]:
    """The rows of a pair where they lie in the file's tensor."""
    if place.is_turned:
        yield RowDelta.transposed(pair)
        return
    row = 0
    for start, stop in place.spans:
        yield RowDelta(pair, start, stop, row)
        row += stop - start
