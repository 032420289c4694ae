"""YAML text becomes plain data that remembers where each key and value stood.

Plain scalars mean what YAML 1.2 says, as in the editors that check recipes against the schema: `1e-3` is a number,
`on`, `12:30` and `2024-01-01` are text. PyYAML by itself reads YAML 1.1.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from loramerge.documents.document import Document
from loramerge.documents.problems import KeyPath, Origin, Problem, RecipeProblemsError
from loramerge.documents.yaml_advice import in_words

MAX_NODES = 10_000
MAX_DEPTH = 64
_MOST_DIGITS = 1000

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_KEYS = (_TAG + "str", _MERGE)
_CORE = {  # https://yaml.org/spec/1.2.2/#1032-tag-resolution
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}

_OTHERS = (  # what readers of YAML take for more than text besides: https://yaml.org/type/, Ruby's, Go's
    r"[yYnN]|(?i:true|false|yes|no|on|off|null)"
    r"|[-+]?0[xXoObB][0-9a-fA-F_,]*"
    r"|[-+]?[0-9][0-9_,]*(?::[0-9_]+)*(?:\.[0-9_.]*)?(?:[eE][-+]?[0-9_]*)?"
    r"|[-+]?\.(?:[0-9_]+(?:[eE][-+]?[0-9_]*)?|(?i:inf|nan))"
)


def load(text: str, *, origin: str) -> Document:
    """Read one YAML document.

    Duplicate keys, keys that are no text and tagged values are collected in the document's problems.

    Args:
        text: YAML.
        origin: What to call it in problems, such as a file's name; line and column are added.

    Raises:
        RecipeProblemsError: It is not YAML, more than one document, or larger than a recipe can be: more than
            `MAX_NODES` values or `MAX_DEPTH` levels once its aliases are expanded.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        except (ValueError, OverflowError) as error:  # PyYAML checks neither "\UFFFFFFFF" nor long version numbers
            raise _TooMuchError(loader.get_mark(), f"not valid YAML: {error}") from error
        document = Document()
        if node is None:
            document.values[()] = Origin(1, 1, origin)
        else:
            document.data = _Expansion(document, origin).value(node, (), 0)
    except _TooMuchError as error:
        raise RecipeProblemsError([Problem(_at(origin, error.mark), (), error.message)]) from error
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        raise RecipeProblemsError(
            [Problem(_at(origin, where), (), f"not valid YAML: {in_words(error, text)}")]
        ) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Origin(before.count("\n") + 1, len(before) - before.rfind("\n"), origin)
        message = f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        raise RecipeProblemsError([Problem(place, (), message)]) from error
    return document


def dump(data: object, **options: Any) -> str:
    """Write plain data as YAML that means the same to a reader of YAML 1.1 and of 1.2, whatever it is written in."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **{"width": 120, **options}))


def dump_on_a_line(data: object) -> str:
    """Write plain data as YAML of one line, which may stand inside brackets."""
    return dump([data], default_flow_style=True, width=math.inf).strip("\n")[1:-1]


class _TooMuchError(Exception):
    def __init__(self, mark: yaml.Mark, message: str) -> None:
        super().__init__(message)
        self.mark, self.message = mark, message


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, stopped before a document grows beyond what a recipe can be."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._composed = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._composed += 1
        self._depth += 1
        _bound(self.get_mark(), self._composed, self._depth - 1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would take for something else."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  PyYAML's signature
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        # Unescaped, YAML 1.1 takes these for line breaks and folds them into spaces.
        breaks = "[\n\r\x85\u2028\u2029]" if self.default_flow_style else "[\x85\u2028\u2029]"
        style = '"' if re.search(breaks, data) else None
        return self.represent_scalar(f"{_TAG}str", data, style=style)


_Dumper.add_representer(str, _Dumper.text)

for _name, (_pattern, _first) in _CORE.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), _first)
_Dumper.add_implicit_resolver(_TAG + "other", re.compile(rf"(?:{_OTHERS})\Z"), list("-+.0123456789fFnNoOtTyY"))


class _Expansion:
    """Nodes become data; aliases are expanded, so that every path has a value and an origin of its own."""

    def __init__(self, document: Document, origin: str) -> None:
        self.document = document
        self.origin = origin
        self.count = 0

    def value(self, node: yaml.Node, path: KeyPath, depth: int) -> Any:
        self._step(node, depth)
        self.document.values[path] = _at(self.origin, node.start_mark)
        tag = node.tag.removeprefix(_TAG)
        match node:
            case yaml.MappingNode() if tag == "map":
                return self._mapping(node, path, depth)
            case yaml.SequenceNode() if tag == "seq":
                return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
            case yaml.ScalarNode() if tag in _SCALARS:
                return self._scalar(node, tag, path)
        self._unreadable(node, path, f"the tag {node.tag.replace(_TAG, '!!')} is not read; remove it")
        return None

    def _scalar(self, node: yaml.ScalarNode, tag: str, path: KeyPath) -> str | float | bool | None:
        self.document.texts[path] = node.value
        if _SURROGATE.search(node.value):
            self._unreadable(node, path, "holds half of a character (an escaped surrogate)")
            return None
        try:
            return _SCALARS[tag](node.value)
        except (ValueError, KeyError):
            self._unreadable(node, path, f"{node.value[:40]!r} can't be read as {_IN_WORDS.get(tag, f'!!{tag}')}")
            return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEYS or _SURROGATE.search(key.value):
                shown = f"{key.value!r} " if isinstance(key, yaml.ScalarNode) else ""
                comma = key.tag == _TAG + "int" and value.value == ""  # `{weight: 0,7}`
                advice = "a number is written with a point, not with a comma" if comma else "quote it"
                self._problem(key, path, f"the key {shown}is not text; {advice}")
            elif (here := (*path, key.value)) in self.document.keys:
                first = self.document.keys[here]
                self._problem(key, here, f"this key is given twice, first at {first.line}:{first.column}")
            else:
                self.document.keys[here] = _at(self.origin, key.start_mark)
                if key.tag != _MERGE:
                    data[key.value] = self.value(value, here, depth + 1)
        for key, value in self._merged(node, path, depth):
            if key.value not in data:
                here = (*path, key.value)
                self.document.keys[here] = _at(self.origin, key.start_mark)
                data[key.value] = self.value(value, here, depth + 1)
        return data

    def _merged(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """What `<<` adds to a mapping, nearest first (https://yaml.org/type/merge.html)."""
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                self._step(other, depth + 1)
                if isinstance(other, yaml.MappingNode):
                    yield from (pair for pair in other.value if pair[0].tag == _TAG + "str")
                    yield from self._merged(other, path, depth + 1)
                else:
                    self._problem(other, (*path, "<<"), "`<<` takes a mapping or a list of mappings")

    def _step(self, node: yaml.Node, depth: int) -> None:
        self.count += 1
        _bound(node.start_mark, self.count, depth)

    def _unreadable(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.document.unread.add(path)
        self._problem(node, path, message)

    def _problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.document.problems.append(Problem(_at(self.origin, node.start_mark), path, message))


def _bound(mark: yaml.Mark, nodes: int, depth: int) -> None:
    if nodes > MAX_NODES:
        raise _TooMuchError(mark, f"more than {MAX_NODES} values once aliases are expanded; a recipe has fewer")
    if depth > MAX_DEPTH:
        raise _TooMuchError(mark, f"nested deeper than {MAX_DEPTH} levels, or an alias contains itself")


def _at(origin: str, mark: yaml.Mark | None) -> Origin:
    return Origin(mark.line + 1, mark.column + 1, origin) if mark else Origin(0, 0, origin)


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:  # Python itself puts no larger one into words
        raise ValueError(f"a number of {len(text)} digits")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))


_IN_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "null": "nothing"}
_SCALARS: dict[str, Callable[[str], str | float | bool | None]] = {
    "str": str,
    "merge": str,
    "int": _integer,
    "float": _float,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "null": lambda _: None,
}
