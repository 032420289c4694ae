"""What in the addresses of a recipe may be a token."""

from __future__ import annotations

import re
from typing import Any

from loramerge.sources.source import shown


def without_secrets(data: dict[str, Any]) -> dict[str, Any]:
    """A recipe as plain data, which is changed, without it."""
    for entry in (*filter(None, [data.get("base")]), *data["loras"]):
        if isinstance(extract := entry.get("extract"), dict):
            extract["from"] = shown(extract["from"])
        if isinstance(source := entry.get("source"), str):
            entry["source"] = shown(source)
        elif source:
            entry["source"] = {component: shown(each) for component, each in source.items()}
    return data


def secrets_of(source: str) -> tuple[str, ...]:
    """What `shown` leaves out, as far as it could still be recognised in a text that spells it in other ways."""
    return tuple(part for part in re.split(r"[?#&=@/:]", source) if part and part not in shown(source))
