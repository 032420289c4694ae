"""PEFT's LoraConfig as a mapping: what rank and scale it gives to a module, and what to write for given pairs."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loramerge.adapter import Modules
from loramerge.errors import SourceError
from loramerge.formats.refusals import refuse_config


@dataclass(frozen=True)
class Scaling:
    """Alpha and rank of every module, as PEFT resolves them.

    Attributes:
        reference: For messages.
        config: `r`, `lora_alpha`, `rank_pattern`, `alpha_pattern`, `use_rslora`.
    """

    reference: str
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        refuse_config(self.reference, self.config)
        for key in ("rank_pattern", "alpha_pattern"):
            if not isinstance(self.config.get(key) or {}, Mapping):
                raise SourceError(f"{self.reference}: {key} should be a mapping")
        for name, value in (("r", self.config.get("r")), ("lora_alpha", self.config.get("lora_alpha"))):
            _positive(self.reference, name, value)

    def rank(self, module: str) -> int:
        """The rank that the module's tensors must have."""
        return int(self._value("rank_pattern", "r", module))

    def scale(self, module: str) -> float:
        """Alpha / r; alpha / √r with rsLoRA (Kalajdzievski, arXiv:2312.03732)."""
        alpha, rank = self._value("alpha_pattern", "lora_alpha", module), self.rank(module)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _value(self, pattern_key: str, default_key: str, module: str) -> float:
        # PEFT's get_pattern_key (peft/utils/other.py): the first pattern that matches the end of the name.
        for pattern, value in (self.config.get(pattern_key) or {}).items():
            try:
                matches = re.match(rf"(.*\.)?({pattern})$", module)
            except re.error as error:
                raise SourceError(f"{self.reference}: {pattern_key} has a bad pattern {pattern!r}: {error}") from None
            if matches:
                return _positive(self.reference, f"{pattern_key}[{pattern!r}]", value)
        return _positive(self.reference, default_key, self.config.get(default_key))


def _positive(reference: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SourceError(f"{reference}: {key} should be a positive number, it is {value!r}")
    return float(value)


def settings_for(modules: Modules, all_modules: Iterable[str], rename: Callable[[str], str]) -> dict[str, Any]:
    """The LoraConfig settings under which PEFT gives each module its own rank and scale.

    Args:
        modules: The pairs to describe.
        all_modules: Every linear and convolution layer of the component, by canonical name.
        rename: From canonical name to the name that PEFT will see.

    Returns:
        `r`, `lora_alpha`, `rank_pattern`, `alpha_pattern` and `target_modules`, sorted. Target modules are full
        names; where a name would also hit another module by its ending, an exact regular expression instead.
    """
    ranks = {rename(name): pair.rank for name, pair in modules.items()}
    alphas = {rename(name): _alpha(pair.scale * pair.rank) for name, pair in modules.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_exact(name): value for name, value in sorted(ranks.items()) if value != rank},
        "alpha_pattern": {_exact(name): value for name, value in sorted(alphas.items()) if value != alpha},
        "target_modules": _targets(sorted(ranks), {rename(name) for name in all_modules}),
    }


def _alpha(alpha: float) -> float | int:
    return int(alpha) if alpha == int(alpha) else alpha


def _exact(name: str) -> str:
    return f"^{re.escape(name)}"


def _targets(names: list[str], everything: set[str]) -> list[str] | str:
    endings = {".".join(other.split(".")[start:]) for other in everything for start in range(1, other.count(".") + 1)}
    if endings.isdisjoint(names):
        return names
    return "|".join(map(re.escape, names))
