"""provenance.json as a file: an in-toto Statement v1 with a predicate of SLSA provenance v1.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATEMENT = "provenance.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Statement:
    """Files, and what is claimed of them.

    Attributes:
        subjects: Name of every file → its sha256.
        predicate: How they were made.
    """

    subjects: Mapping[str, str]
    predicate: Mapping[str, Any]

    def text(self) -> str:
        """The statement as JSON; the same statement is the same text."""
        subjects = [{"name": name, "digest": {"sha256": self.subjects[name]}} for name in sorted(self.subjects)]
        data = {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": self.predicate,
        }
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def parse(cls, text: str) -> Statement:
        """Read what `text` wrote.

        Raises:
            ValueError: It is no such statement; the message says why.
        """
        try:
            data = json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(data, dict) or data.get("_type") != STATEMENT_TYPE:
            raise ValueError(f"it is no statement of type {STATEMENT_TYPE}")
        if data.get("predicateType") != PREDICATE_TYPE or not isinstance(data.get("predicate"), dict):
            raise ValueError(f"it has no predicate of type {PREDICATE_TYPE}")
        subjects: dict[str, str] = {}
        for subject in _list(data.get("subject")):
            name, digest = _subject(subject)
            if name in subjects:
                raise ValueError(f"it names {name} twice")
            subjects[name] = digest
        if not subjects:
            raise ValueError("it names no files")
        return cls(subjects, data["predicate"])


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("its `subject` is no list")  # noqa: TRY004  parsing fails in one way
    return value


def _subject(subject: object) -> tuple[str, str]:
    match subject:
        case {"name": str(name), "digest": {"sha256": str(digest)}} if name and _SHA256.fullmatch(digest):
            if not name.isprintable():  # lines of it would be taken for our own
                raise ValueError(f"one of its subjects is called {name!r}, and no file of an artifact is")
            return name, digest
    raise ValueError("one of its subjects has no name or no sha256")
