"""Components that outputs have in the place of the base's own, as a recipe names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loramerge.documents.problems import KeyPath
    from loramerge.formats.output import Output


def components_of(outputs: Iterable[Output]) -> dict[str, str]:
    """Output's folder and component, such as `model/vae` → source of what is written there."""
    named = ((output.folder, *each) for output in outputs for each in output.other_components.items())
    return {f"{folder}/{name}": source for folder, name, source in named if source is not None}


def component_mistakes(data: Mapping[str, Any], refusal: Callable[[str], str | None]) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with their sources.

    Args:
        data: A recipe as plain data; whatever has the wrong shape is passed over.
        refusal: Why a source is none; None if it may be one.
    """
    outputs = data.get("outputs")
    for index, output in enumerate(outputs if isinstance(outputs, list | tuple) else ()):
        components = output.get("components") if isinstance(output, Mapping) else None
        for name, source in components.items() if isinstance(components, Mapping) else ():
            key: KeyPath = ("outputs", index, "components", name)
            if isinstance(source, str) and (source.startswith("https://") or source.endswith(".safetensors")):
                yield (
                    key,
                    "it is one file, and a component is a folder with its config; write hf://owner/name or a path",
                )
            elif isinstance(source, str) and (refused := refusal(source)):
                yield key, refused
