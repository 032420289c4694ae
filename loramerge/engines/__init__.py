"""What computes a merge. One file per engine, with a function `merge_component`; `ENGINES` lists them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from loramerge.engines import factored, peft

Engine = Callable[..., dict[str, Any]]
ENGINES: Mapping[str, Engine] = MappingProxyType({"peft": peft.merge_component, "factored": factored.merge_component})

__all__ = ["ENGINES", "Engine"]
