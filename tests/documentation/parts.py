"""Tables inside pages: the combination types, and what is refused."""

from __future__ import annotations

from typing import get_args

from loramerge.formats.refused import REFUSALS
from loramerge.methods import METHODS


def combination_types() -> str:
    """A row for each type: what it does, and which ranks it takes."""
    lines = ["| type | what it does | ranks |", "| --- | --- | --- |"]
    for method in METHODS:
        named = method.model_fields["combination_type"]
        (name,) = get_args(named.annotation)
        lines.append(f"| `{name}` | {named.description} | {'equal' if method.factor_wise else 'any'} |")
    return "\n".join(lines)


def refused() -> str:
    """A row for each kind of file that can't be merged, and why."""
    lines = ["| what | why |", "| --- | --- |"]
    lines += [f"| {refusal.what} | {refusal.why} |" for refusal in REFUSALS]
    return "\n".join(lines)
