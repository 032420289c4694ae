"""What a base that is names and sizes alone is not enough for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from loramerge.outputs import OUTPUTS

if TYPE_CHECKING:
    from loramerge.documents.problems import KeyPath

_DEPENDING = {
    "extract": "a difference needs the base's weights",
    "dora": "what a DoRA adds depends on the base's weights",
}


def without_weights(data: Mapping[str, Any], base: Mapping[str, Any] | None) -> Iterator[tuple[KeyPath, str]]:
    """What a family's names and sizes are not enough for.

    Args:
        data: The recipe.
        base: Of it; None where it names none.
    """
    if base is not None and (base.get("source") is not None or base.get("family") is None):
        return
    advice = "a family is names and sizes; give the base's `source:` instead"
    if base is None:
        advice = "the recipe names no base; add `base: {source: …}`"
    for key in ("revision", "variant", "sha256", "config"):
        if base is not None and base.get(key) is not None:
            yield ("base", key), f"a family has no {key}; leave it out, or give the base's `source:` instead"
    # A list: what is given may be anything.
    needing = [get_args(output.model_fields["kind"].annotation)[0] for output in OUTPUTS if output.needs_weights]
    for index, output in mappings(data, "outputs"):
        if output.get("kind") in needing:
            yield ("outputs", index, "kind"), f"it needs the base's weights, and {advice}"
    yield from (
        (("loras", index, key), f"{what}, and {advice}")
        for index, lora in mappings(data, "loras")
        for key, what in _DEPENDING.items()
        if lora.get(key)
    )
    if data.get("preview") is not None:
        yield ("preview",), f"pictures need the base's weights, and {advice}"


def mappings(data: Mapping[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The mappings of a list by their places; whatever has the wrong shape is passed over.

    Args:
        data: A recipe as plain data.
        key: Of the list.
    """
    if isinstance(items := data.get(key), (list, tuple)):
        yield from ((index, item) for index, item in enumerate(items) if isinstance(item, dict))
