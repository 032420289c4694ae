"""PEFT's LoraConfig as a mapping: what rank and scale it gives to a module, and what to write for given pairs."""

import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from loramerge.adapter import BASE, TASK, TASKS_WITH_HEADS
from loramerge.errors import SourceError
from loramerge.formats.module_pattern import ModulePattern
from loramerge.formats.refused import LORA, refuse_config
from loramerge.messages import excerpt

_MOST_PATTERNS = 20_000
_TASKS = TASKS_WITH_HEADS | {"CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION"}


def told(config: Mapping[str, Any]) -> dict[str, str]:
    """What settings say of the base and of the task."""
    found = {key: config.get(key) for key in (BASE, TASK)}
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, str) and value and (key == BASE or value in _TASKS)
    }


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
        for name in ("r", self._alpha):
            _positive(self.reference, name, self.config.get(name))
        if not isinstance(self.config.get("use_rslora") or False, bool):
            raise SourceError(f"{self.reference}: use_rslora should be true or false")
        patterns = (*(self.config.get("rank_pattern") or {}), *(self.config.get("alpha_pattern") or {}))
        if len(patterns) > _MOST_PATTERNS:  # each module is compared with each of them
            raise SourceError(
                f"{self.reference} has {len(patterns)} patterns of ranks and alphas: no model has so many layers",
                hint="have PEFT save the adapter anew, or use another one",
            )
        for pattern in patterns:
            _parsed(self.reference, pattern)

    @property
    def _alpha(self) -> str:
        """What alpha is called: LohaConfig and LokrConfig have another name for it than LoraConfig."""
        return "lora_alpha" if self.config.get("peft_type", LORA) == LORA else "alpha"

    def rank(self, module: str, written: str = "") -> int:
        """The rank that the module's tensors must have.

        Args:
            module: Its canonical name.
            written: Its name in the file, where that is another: patterns are for the names that the trainer saw.
        """
        rank = self._value("rank_pattern", "r", module, written)
        if rank != int(rank):
            raise SourceError(f"{self.reference}: the rank of {module} should be a whole number, it is {rank}")
        return int(rank)

    def scale(self, module: str, written: str = "") -> float:
        """Alpha / r; alpha / √r with rsLoRA (Kalajdzievski, arXiv:2312.03732)."""
        alpha, rank = self._value("alpha_pattern", self._alpha, module, written), self.rank(module, written)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _value(self, pattern_key: str, default_key: str, module: str, written: str) -> float:
        # PEFT's get_pattern_key (peft/utils/other.py): the first pattern that matches the end of the name. The name is
        # the one in memory, which lacks `text_model.` where transformers 5 wrote the folder.
        names = [module, module.removeprefix("text_model."), *([written] if written else [])]
        if self.config.get("target_parameters"):  # of a layer that is told by its weight's name
            names += [f"{name}.weight" for name in names]
        for pattern, value in (self.config.get(pattern_key) or {}).items():
            if any(_parsed(self.reference, pattern).matches(name) for name in names):
                return _positive(self.reference, f"{pattern_key}[{pattern!r}]", value)
        return _positive(self.reference, default_key, self.config.get(default_key))


def _positive(reference: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SourceError(f"{reference}: {key} should be a positive number, it is {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise SourceError(f"{reference}: {key} is larger than any number that makes sense") from None


@lru_cache(maxsize=_MOST_PATTERNS)
def _parsed(reference: str, pattern: str) -> ModulePattern:
    try:
        return ModulePattern(pattern)
    except ValueError as error:
        raise SourceError(
            f"{reference}: the pattern {excerpt(pattern)} is not read: {error}", hint="name the modules in full"
        ) from None


def settings_for(
    modules: Mapping[str, tuple[int, float]],
    all_modules: Iterable[str],
    rename: Callable[[str], str],
    parameters: Container[str] = (),
) -> dict[str, Any]:
    """The LoraConfig settings under which PEFT gives each module its own rank and scale.

    Args:
        modules: Rank and scale of each pair to describe, by canonical name.
        all_modules: Every linear and convolution layer of the component, by canonical name.
        rename: From canonical name to the name that PEFT will see.
        parameters: Of these names, those of parameters: PEFT has a list of its own for them.

    Returns:
        `r`, `lora_alpha`, `rank_pattern`, `alpha_pattern`, `target_modules` and, if there are any, `target_parameters`,
        sorted. Target modules are full names; where a name would also hit another module by its ending, an exact
        regular expression instead.
    """
    ranks = {rename(name): rank for name, (rank, _) in modules.items()}
    alphas = {rename(name): _alpha(scale * rank) for name, (rank, scale) in modules.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    endings = _endings(map(rename, all_modules))
    listed = sorted(name for name in ranks if name in parameters)
    # Absent where there are none: diffusers' files hold these settings, and would be others.
    of_parameters = {"target_parameters": listed} if listed else {}
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_pattern(name, endings): value for name, value in sorted(ranks.items()) if value != rank},
        "alpha_pattern": {_pattern(name, endings): value for name, value in sorted(alphas.items()) if value != alpha},
        "target_modules": _targets(sorted(name for name in ranks if name not in parameters), endings),
        **of_parameters,
    }


def _alpha(alpha: float) -> float | int:
    return int(alpha) if alpha == int(alpha) else alpha


def _endings(names: Iterable[str]) -> set[str]:
    return {".".join(name.split(".")[start:]) for name in names for start in range(1, name.count(".") + 1)}


def _pattern(name: str, endings: set[str]) -> str:
    """Anchored only where another module ends so: `text_model.` may stand before the name under transformers 4."""
    return f"^{re.escape(name)}" if name in endings else re.escape(name)


def _targets(names: list[str], endings: set[str]) -> list[str] | str:
    return names if endings.isdisjoint(names) else "|".join(map(re.escape, names))
