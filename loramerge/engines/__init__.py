"""What computes a merge. One file per engine, with a function `merge_component`; `ENGINES` lists them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from loramerge.engines import factored, peft
from loramerge.merging import Merged

Engine = Callable[..., dict[str, Merged]]
ENGINES: Mapping[str, Engine] = MappingProxyType({"peft": peft.merge_component, "factored": factored.merge_component})

__all__ = ["ENGINES", "Engine"]
