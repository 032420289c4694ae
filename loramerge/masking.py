"""What may be a password or a token is left out of everything that is said, however the address around it is spelt."""

from __future__ import annotations

import re

_SCHEME = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]+:"  # two letters at least: `C:` is a drive
_REST = r"(?=\S)\S*?(?=['\"`),.;:]*(?:\s|$))"  # to the end of the word, but for the punctuation of a sentence
_MASKS = (
    # user:password@, where a password may have '/' and '@' in it; `host:8443/` has none
    (re.compile(rf"({_SCHEME}/*)(?=[^\s/@]*:(?!\d*/))\S*@"), r"\1…@"),
    (re.compile(rf"({_SCHEME}/*)[^\s/@]+@"), r"\1…@"),
    # what follows the path of an address
    (re.compile(rf"((?<![A-Za-z])https?:/[^\s?#;]*[?#;]){_REST}", re.IGNORECASE), r"\1…"),
    (re.compile(rf"({_SCHEME}/[^\s?]*\?){_REST}"), r"\1…"),
    (re.compile(rf"({_SCHEME}/[^\s#;]*[#;])(?=[^\s]*=){_REST}"), r"\1…"),
    # what calls itself a secret, and the Hub's own tokens
    (
        re.compile(
            r"([?&;#][\w.-]*(?:token|secret|passw|key|sig|signature|credential|auth)[\w.-]*=)[^\s&;#'\"]+",
            re.IGNORECASE,
        ),
        r"\1…",
    ),
    (re.compile(r"\bhf_[A-Za-z0-9]{30,}"), "hf_…"),
    # S3's access keys, and the secrets that are assigned to its variables
    (re.compile(r"\b(A[KS]IA)[A-Z0-9]{16}\b"), r"\1…"),
    (re.compile(r"\b(aws_(?:secret_access_key|session_token)\s*[=:]\s*)\S+", re.IGNORECASE), r"\1…"),
)


_LONG = re.compile(r"\S{4097,}")  # no path and no sound address is so long
_KEPT = 300


def masked(text: str) -> str:
    """A text with … in the place of what may be a secret.

    Args:
        text: An address, rightly or wrongly spelt, a path, or a message that quotes such.
    """
    text = _LONG.sub(_without_end, text)  # the masks below take a time that grows with the square of a word
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _without_end(word: re.Match[str]) -> str:
    """A very long word up to where an address could begin to say a secret; as it is, if that is nowhere."""
    plain = re.split(r"[:@?#;=]", word[0].rstrip(":;"), maxsplit=1)
    return word[0] if len(plain) == 1 else f"{plain[0][:_KEPT]}…"
