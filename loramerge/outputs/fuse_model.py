"""Fuse a merged LoRA into the folder of one model: of transformers, or a lone part of a pipeline of diffusers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from loramerge.bases.precision import stays
from loramerge.bases.quantised import refuse_quantised
from loramerge.errors import MismatchError, SourceError
from loramerge.messages import by, some
from loramerge.outputs.fuse import copy_settings
from loramerge.outputs.prepared import OutputWeights, PreparedOutput
from loramerge.tensor_files import shards
from loramerge.tensor_files.fuse_plan import (
    RowDelta,
    TensorChange,
    aligned,
    canonical_name,
    changes,
    keys_of,
    stored_in,
    with_lora,
    with_shares,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from loramerge.adapter import LowRank
    from loramerge.bases.component import Component
    from loramerge.formats.output import MergeResult
    from loramerge.outputs.fused import FusedOutput
    from loramerge.tensor_files.rounding_loss import RoundingLoss
    from loramerge.tensor_files.saved import SavedTensor

_PEFT = "write `kind: adapter` with `format: peft`; PEFT's merge_and_unload() puts it into the loaded model"
_TIED = "tie_word_embeddings"


def fuse_model(
    result: MergeResult, output: FusedOutput, folder: Path, loss: RoundingLoss | None = None
) -> PreparedOutput:
    """Plan the fused model.

    Files, names and settings are the base's own; weights go from file to file in blocks, as those of a pipeline do. A
    parameter that was trained in full takes the place of the base's, as PEFT's merge_and_unload() does.

    Args:
        result: The base, its files, and what is fused in.
        output: dtype, scale and shard size.
        folder: Where to; it exists and is empty.
        loss: Told of sums that are rounded to 8 bits.

    Raises:
        SourceError: The base's files are damaged, or lack a tensor that the LoRA touches.
        MismatchError: A weight that the LoRA touches, or a parameter that it trained, is another layer's as well.
    """
    files, base = result.base_files, result.base
    component, shown = base.components[base.main], base.reference
    weights = [files.folder / name for name in files.names if name.endswith(".safetensors")]
    stored = stored_in(weights, shown)
    refuse_quantised((tensor.key for tensor in stored), shown)
    names = _parameter_names(component, keys_of(stored))
    stay = stays(component, output.dtype, names, names) if output.dtype else ()
    planned = changes(stored, output.stored_as, shown, stay)
    modules, more = result.adapter.components.get(base.main, {}), {}
    if base.is_model:
        by_key = {change.stored.key: change for change in planned}
        for module, pair in modules.items():
            key, delta, expected = _change_by(by_key, module, pair.times(output.lora_scale), component, shown)
            if by_key[key].stored.shape != expected:
                found = by(by_key[key].stored.shape)
                raise SourceError(
                    f"{shown}: {key} is {found}, config.json says {by(expected)}",
                    hint="fetch the base again, or choose another revision",
                )
            change = replace(by_key[key], is_stack=key in component.stacks)
            by_key[key] = with_shares(change, [delta], shown, f"{component.name}.{module}")
        saved = result.adapter.saved.get(base.main, {})
        untied, put = _with_saved(by_key, saved, component, shown)
        more = {_TIED: False} if untied else {}
        result.notes.extend(f"output {output.folder}: {note}" for note in _put_notes(by_key, untied, put))
        planned = aligned(by_key.values())
    else:
        planned = with_lora(planned, component, modules, output.lora_scale, shown)
    settings = partial(copy_settings, files, "", {change.dtype for change in planned}, shown, folder, more)
    written = OutputWeights.sharded(planned, weights[0], shards.size_of(output.max_shard_size), folder)
    return PreparedOutput(folder, settings, (written,), loss)


def _parameter_names(component: Component, keys: Sequence[str]) -> dict[str, str]:
    """Name of a tensor in the files → of the parameter that it is."""
    canonical = {live: module for module, live in component.live.items()}
    found = {}
    for key in keys:
        module, dot, parameter = key.rpartition(".")
        found[key] = canonical_name(component, f"{canonical.get(module, module)}{dot}{parameter}")
    return found


def _with_saved(
    by_key: dict[str, TensorChange], saved: Mapping[str, SavedTensor], component: Component, shown: str
) -> tuple[list[str], list[str]]:
    """Put what was trained in full into the place of the base's own.

    Returns:
        Names of tensors that were those of others as well, and no longer are; and of those that were put.
    """
    put = []
    untied = [name for name, other in component.tied.items() if not _stay_one(saved, name, other)]
    _check_untied(untied, component, shown)
    for name in untied:  # each has the other's numbers until it gets its own
        other = by_key[_stored_as(by_key, component.tied[name], component) or component.tied[name]]
        by_key.setdefault(name, replace(other, stored=replace(other.stored, key=name), shown_as=f"{shown}.{name}"))
    for name, tensor in saved.items():
        key = _stored_as(by_key, name, component)
        if key is None and name in component.tied:
            continue  # the same as the one that it is tied to
        key = key or name
        dtype = by_key[key].dtype if key in by_key else next(iter(by_key.values())).dtype
        put.append(key)
        by_key[key] = TensorChange(tensor.named(key), dtype, (), f"{shown}.{key}")
    return untied, put


def _check_untied(untied: Sequence[str], component: Component, shown: str) -> None:
    """A head can have numbers of its own; two embeddings that are one are put together again when they are loaded."""
    for name in untied:
        if name.rpartition(".")[0] not in component.modules:
            raise MismatchError(
                f"{shown}: {component.tied[name]} is {name} as well, and one of them alone was trained in full: "
                "transformers puts them together again when it loads the model",
                hint=_PEFT,
            )


def _stay_one(saved: Mapping[str, SavedTensor], name: str, other: str) -> bool:
    """Whether two parameters that are one remain so: neither was trained, or both are the same."""
    one, two = saved.get(name), saved.get(other)
    return one is two is None or (one is not None and two is not None and one.equals(two))


def _put_notes(by_key: Mapping[str, TensorChange], untied: list[str], put: list[str]) -> Iterator[str]:
    if untied:
        size = sum(by_key[name].size for name in untied)
        yield (
            f"{some(untied)} ({size:,} bytes) had the numbers of the embedding, and has its own now: it is written by "
            f"itself, and config.json says {_TIED}: false"
        )
    for each in (by_key[key] for key in put):
        if each.dtype != each.stored.dtype:
            yield f"{each.stored.key}, trained in full, is {each.stored.dtype} and written as {each.dtype}"


def _stored_as(known: Container[str], name: str, component: Component) -> str | None:
    """What the files call a parameter: transformers has renamed the layers of some models."""
    module, _, parameter = name.rpartition(".")
    names = (name, f"{component.live.get(module, module)}.{parameter}")
    return next((each for each in names if each in known), None)


def _change_by(
    known: Mapping[str, TensorChange], module: str, pair: LowRank, component: Component, shown: str
) -> tuple[str, RowDelta, tuple[int, ...]]:
    """Of a pair the tensor that it is added to, which rows of it, and the shape that this should have."""
    expert = component.of_experts.get(module)
    if expert is None:
        key, expected = _key(known, module, component, shown), component.parameters[component.parameter(module)]
        return key, RowDelta.transposed(pair) if module in component.transposed else RowDelta.whole(pair), expected
    if (key := component.parameter(module)) in known:
        return key, RowDelta.whole(pair), pair.shape
    stack = component.stacks[expert.parameter]
    if expert.parameter not in known:
        if any(component.parameter(other) in known for other in component.of_experts):
            raise SourceError(f"{shown} lacks {key}", hint="fetch the base again, or choose another revision")
        raise SourceError(
            f"{shown} has neither {key} nor {expert.parameter}: its files have other names than its class", hint=_PEFT
        )
    shape = known[expert.parameter].stored.shape
    rows = stack.rows(expert, shape)
    if rows is None:
        return expert.parameter, RowDelta.whole(pair), stack.shape
    delta = RowDelta.transposed(pair) if rows.is_turned else RowDelta.whole(pair)
    return expert.parameter, delta.below(rows.first), shape


def _key(known: Container[str], module: str, component: Component, shown: str) -> str:
    """What the files call a parameter, of which an adapter has a difference."""
    parameter = component.parameter(module)
    if parameter not in component.parameters:
        raise MismatchError(
            f"{shown}: {module} has the weights of the embedding (`{_TIED}`), and what is fused into one would change "
            "both",
            hint=f"{_PEFT}, which keeps them apart",
        )
    found = _stored_as(known, parameter, component)
    if found is None:
        raise SourceError(
            f"{shown} has no tensor {parameter}: its files have other names than its class",
            hint="load it with transformers and save it again, or " + _PEFT,
        )
    return found
