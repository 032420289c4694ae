"""The names of an original checkpoint against diffusers' names: which rows of which tensor are which.

One table of rules serves LoRA files in the original names, in and out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

Shapes = Mapping[str, tuple[int, ...]]
Span = tuple[int, int]
"""First row and the one behind the last."""
QKV = ("to_q", "to_k", "to_v")
ADDED_QKV = ("add_q_proj", "add_k_proj", "add_v_proj")
NO_TURNS: Mapping[str, int] = MappingProxyType({})
WEIGHT = ".weight"


def key_of(parameter: str) -> str:
    """What an adapter calls a parameter: a weight by its module, others in full (`….bias`)."""
    return parameter.removesuffix(WEIGHT)


def comfyui_name(original: str) -> str:
    """What ComfyUI calls a parameter, by the name that a checkpoint has: the weight of a norm is no `scale` there.

    Its supported_models.py renames `….query_norm.scale` of Flux and HunyuanVideo when it loads them.
    """
    return f"{original.removesuffix('.scale')}{WEIGHT}" if original.endswith("_norm.scale") else original


@dataclass(frozen=True)
class Rule:
    """A name in the original layout, and the canonical names whose rows it holds, one after the other.

    `*` is a block's number. Names are beginnings that end at a dot; the longest that fits counts, and of two as long
    the one with fewer `*`. What no rule names keeps its name.

    Attributes:
        original: `double_blocks.*.img_attn.qkv`.
        canonical: diffusers' names.
        swapped: The halves of the rows have changed places: (shift, scale) there, (scale, shift) in diffusers.
        turns: How often each of the canonical names has its turn, with an equal share of its rows: once where they lie
            one after the other, once for each head where a head's queries, keys and values stand together.
    """

    original: str
    canonical: tuple[str, ...]
    swapped: bool = False
    turns: int = 1


@dataclass(frozen=True)
class Tables:
    """Every set of names that files have for a model's layers, beside diffusers'.

    Attributes:
        original: From the names of the original checkpoint.
        comfyui: From ComfyUI's, where those are others.
        further: From those that a trainer made up for some of the layers; they are read and never written.
        named: From those of files that keep PEFT's name of the adapter, where these mean other rows by the same names.
    """

    original: tuple[Rule, ...] = ()
    comfyui: tuple[Rule, ...] | None = None
    further: tuple[Rule, ...] = ()
    named: tuple[Rule, ...] = ()


NO_TABLES = Tables()


def rules(
    names: Mapping[str, str | Sequence[str]], swapped: Iterable[str] = (), turns: Mapping[str, int] = NO_TURNS
) -> tuple[Rule, ...]:
    """Rules as a table.

    Args:
        names: Original name → canonical name, or several where one tensor holds the rows of all of them.
        swapped: Original names of those whose halves have changed places.
        turns: Original name → how often its parts take turns, where they do.
    """
    halves = {*swapped}
    return tuple(
        Rule(
            original,
            (canonical,) if isinstance(canonical, str) else tuple(canonical),
            original in halves,
            turns.get(original, 1),
        )
        for original, canonical in names.items()
    )


def each(prefix: str, names: Iterable[str]) -> tuple[str, ...]:
    """Several names behind one beginning."""
    return tuple(f"{prefix}{name}" for name in names)


@dataclass(frozen=True)
class Piece:
    """A canonical tensor within one of the original layout.

    Attributes:
        canonical: Its name.
        spans: The rows that are its own, in the order in which it has them.
    """

    canonical: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Original:
    """A tensor of the original layout.

    Attributes:
        name: Its name there.
        shape: Of the whole.
        parts: What it holds; together they are all of its rows.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Piece, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it is one canonical tensor, row by row."""
        return len(self.parts) == 1 and len(self.parts[0].spans) == 1


class Layout:
    """Rules, applied to the tensors that a model has.

    Args:
        given: The rules.
        shapes: Shape of each of the model's tensors, or of the weight of each of its layers, by canonical name.
    """

    def __init__(self, given: Iterable[Rule], shapes: Shapes) -> None:
        self._shapes = shapes
        found = [(canonical, rule) for rule in given for canonical in rule.canonical]
        self._rules = sorted(found, key=lambda entry: (-entry[0].count("."), -len(entry[0]), entry[0].count("*")))
        self._beginning: dict[str, list[tuple[str, Rule]]] = {}

    @cached_property
    def originals(self) -> Mapping[str, Original]:
        """Every tensor of the original layout by its name, in the order of the canonical ones."""
        return self._found()

    def _found(self) -> dict[str, Original]:
        held: dict[str, list[Piece]] = {}
        for name, shape in self._shapes.items():
            rule, prefix, rest, numbers = self._rule(name)
            if rule is None:
                held.setdefault(name, []).append(Piece(name, ((0, shape[0] if shape else 1),)))
                continue
            heights = [self._height(_numbered(other, numbers) + rest) for other in rule.canonical]
            spans = _spans(rule, heights, rule.canonical.index(prefix))
            held.setdefault(_numbered(rule.original, numbers) + rest, []).append(Piece(name, spans))
        return {name: self._original(name, parts) for name, parts in held.items()}

    @cached_property
    def by_canonical(self) -> Mapping[str, Original]:
        """The tensor of the original layout that holds a canonical one."""
        return {part.canonical: original for original in self.originals.values() for part in original.parts}

    def _rule(self, name: str) -> tuple[Rule | None, str, str, tuple[str, ...]]:
        for canonical, rule in self._that_may_begin(name.partition(".")[0]):
            if found := _pattern(canonical).match(name):
                return rule, canonical, name[found.end() :], found.groups()
        return None, "", "", ()

    def _that_may_begin(self, first: str) -> list[tuple[str, Rule]]:
        """Canonical names and rules, the most particular first, without those that begin with another word."""
        if first not in self._beginning:
            words = [(canonical.partition(".")[0], (canonical, rule)) for canonical, rule in self._rules]
            self._beginning[first] = [each for word, each in words if word == first or "*" in word]
        return self._beginning[first]

    def _height(self, name: str) -> int:
        shape = self._shapes.get(name)  # a block may lack a part: the last of SD3 has no text to put out
        return shape[0] if shape else 0

    def _original(self, name: str, parts: Sequence[Piece]) -> Original:
        ordered = tuple(sorted(parts, key=lambda part: min(part.spans)))
        shape = self._shapes[ordered[0].canonical]
        height = max(stop for part in ordered for _, stop in part.spans)
        return Original(name, (height, *shape[1:]) if shape else (), ordered)


class ParameterLayout(Layout):
    """Rules, applied to all parameters of a model. Each is called by its key, there and here.

    Args:
        given: The rules.
        shapes: Shape of each parameter by its whole name.
    """

    @cached_property
    def whole(self) -> Mapping[str, Original]:
        """Every parameter of the original layout by its whole name."""
        return self._found()

    @cached_property
    def originals(self) -> Mapping[str, Original]:
        """Every parameter of the original layout by its key."""
        return {
            key_of(name): Original(
                key_of(name),
                original.shape,
                tuple(Piece(key_of(part.canonical), part.spans) for part in original.parts),
            )
            for name, original in self.whole.items()
        }


def _spans(rule: Rule, heights: Sequence[int], part: int) -> tuple[Span, ...]:
    """The rows of a part, of parts of these heights."""
    start, height = sum(heights[:part]), heights[part]
    if rule.swapped:
        middle = start + height // 2
        return (middle, start + height), (start, middle)
    turn, first, own = (rows // rule.turns for rows in (sum(heights), start, height))
    return tuple((number * turn + first, number * turn + first + own) for number in range(rule.turns))


@cache  # a table has a few hundred names, and is applied to each size of its family
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", r"(\d+)") + r"(?=\.|$)")


def _numbered(name: str, numbers: Iterable[str]) -> str:
    for number in numbers:
        name = name.replace("*", number, 1)
    return name
