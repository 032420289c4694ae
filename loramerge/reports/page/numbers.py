"""How a page puts numbers: short to the eye, with all their digits in the markup, where sorting and `verify` look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.analysis.fidelity import EXACT

if TYPE_CHECKING:
    from markupsafe import Markup


def small(value: float) -> str:
    """A relative error in as few characters as fit a cell: `0`, `3e-4`, `.12`, `1.2`."""
    if value <= EXACT:
        return "0"
    if value < 0.0095:  # noqa: PLR2004  what would be .01
        return f"{value:.0e}".replace("e-0", "e-")
    return share(value)


def share(value: float) -> str:
    """`.12`, `1`."""
    text = f"{value:.2f}"
    if value >= 0.995:  # noqa: PLR2004  what would be 1.00
        text = text.rstrip("0").rstrip(".")
    return text.removeprefix("0") if text.startswith("0.") else text


def signed(value: float) -> str:
    """`+.12`, `-1`, with a minus as wide as the plus."""
    text = share(abs(value))
    sign = "+" if value > 0 else "\N{MINUS SIGN}"
    return "0" if float(text) == 0 else sign + text


def number(value: float | None, form: str = ".3g", *, exact: str = "exact") -> Markup:
    """A number for people, and with all that is known of it for machines; a dash where there is none.

    Args:
        value: The number.
        form: Python's format, or `error` for a relative error.
        exact: What an error is called that is rounding in float32 alone.
    """
    from markupsafe import Markup

    if value is None:
        return Markup('<data value="">\N{EN DASH}</data>')
    text = exact if form == "error" and value <= EXACT else f"{value:{'.2g' if form == 'error' else form}}"
    if text.strip("+-0.") == "":  # no sign where there is nothing
        text = text.lstrip("+-")
    return Markup('<data value="{}">{}</data>').format(f"{value:.7g}", text.replace("-", "\N{MINUS SIGN}"))
