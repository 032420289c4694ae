"""Fuse a merged LoRA into the folder of a lone model of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.bases.quantised import refuse_quantised
from loramerge.errors import MismatchError, SourceError
from loramerge.files.writing import check_room, writing
from loramerge.messages import by
from loramerge.outputs.fuse import copy_settings, write_weights
from loramerge.tensor_files import shards
from loramerge.tensor_files.fuse_plan import RowDelta, changes, stored_in, with_shares
from loramerge.tensor_files.header import STORED_AS

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from loramerge.bases.component import Component
    from loramerge.formats.output import MergeResult
    from loramerge.outputs.fused import FusedOutput
    from loramerge.tensor_files.rounding_loss import RoundingLoss

_PEFT = "write `kind: adapter` with `format: peft`; PEFT's merge_and_unload() puts it into the loaded model"


def check_model(reference: str, component: Component) -> None:
    """Raise where the model's linear layers are kept the other way round.

    Raises:
        MismatchError: They are, as in GPT-2.
    """
    if component.is_transposed:
        raise MismatchError(
            f"{reference} keeps the weights of its linear layers as in×out, into which nothing is fused yet", hint=_PEFT
        )


def fuse_model(
    result: MergeResult, output: FusedOutput, folder: Path, loss: RoundingLoss | None = None
) -> dict[str, str]:
    """Write the fused model.

    Files, names and settings are the base's own; weights go from file to file in blocks, as those of a pipeline do.

    Args:
        result: The base, its files, and what is fused in.
        output: dtype, scale and shard size.
        folder: Where to; it exists and is empty.
        loss: Told of sums that are rounded to 8 bits.

    Returns:
        SHA-256 of the weight files by their names.

    Raises:
        SourceError: The base's files are damaged, or lack a tensor that the LoRA touches.
        MismatchError: A weight that the LoRA touches is another layer's as well.
        LoramergeError: A sum does not fit the dtype, or the folder can't be written.
    """
    files, base = result.base_files, result.base
    component, shown = base.components[base.main], base.reference
    weights = [files.folder / name for name in files.names if name.endswith(".safetensors")]
    stored = stored_in(weights, shown)
    refuse_quantised((tensor.key for tensor in stored), shown)
    planned = changes(stored, STORED_AS[output.dtype] if output.dtype else None, shown)
    by_key = {change.stored.key: change for change in planned}
    for module, pair in result.adapter.components.get(base.main, {}).items():
        key = _key(by_key, module, component, shown)
        expected = component.shape_of(module, others=True)
        if by_key[key].stored.shape != expected:
            found = by(by_key[key].stored.shape)
            raise SourceError(
                f"{shown}: {key} is {found}, config.json says {by(expected or ())}",
                hint="fetch the base again, or choose another revision",
            )
        share = RowDelta.whole(pair.times(output.lora_scale))
        by_key[key] = with_shares(by_key[key], [share], shown, f"{component.name}.{module}")
    changed = [*by_key.values()]
    check_room(folder, sum(change.size for change in changed))
    with writing(folder):
        copy_settings(files, "", {change.dtype for change in changed}, shown, folder)
        return write_weights(changed, shards.size_of(output.max_shard_size), folder, loss)


def _key(known: Container[str], module: str, component: Component, shown: str) -> str:
    """What the files call a parameter: transformers has renamed the layers of some models."""
    parameter = component.parameter(module)
    if parameter not in component.parameters:
        raise MismatchError(
            f"{shown}: {module} has the weights of the embedding (`tie_word_embeddings`), and what is fused into one "
            "would change both",
            hint=f"{_PEFT}, which keeps them apart",
        )
    owner, _, last = parameter.rpartition(".")
    names = (parameter, f"{component.live.get(owner, owner)}.{last}")
    found = next((name for name in names if name in known), None)
    if found is None:
        raise SourceError(
            f"{shown} has no tensor {names[0]}: its files have other names than its class",
            hint="load it with transformers and save it again, or " + _PEFT,
        )
    return found
