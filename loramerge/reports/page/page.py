"""report.html from what an artifact already holds: its report, its recipe and its contact sheet."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.analysis.fidelity import in_words
from loramerge.analysis.rounding import rounded_outputs
from loramerge.artifact.contents import PAGE, PREVIEW, SHEET
from loramerge.bases.blocks import place_of
from loramerge.families import title_of
from loramerge.files.reading import content_of
from loramerge.messages import visible
from loramerge.reports.page import charts
from loramerge.reports.page.groups import ALL, anatomy_of, grouped, label, modules_of, rows_of
from loramerge.reports.page.numbers import number

if TYPE_CHECKING:
    from markupsafe import Markup

    from loramerge.bases.anatomy import Anatomy
    from loramerge.recipe import Recipe
    from loramerge.reports.page.groups import ReportedModule

_MOST_PAIRS = 6
"""As many pairs of LoRAs are drawn, those that have most to do with each other; all of them are in the table."""
_MOST_COSINES = 3
"""As many pairs have a column in the table of modules."""
_OPEN = 150
"""Up to so many modules the table of modules is open from the start, and printed."""
_LARGE = 1_000_000
"""Bytes of a PNG from which on a WebP takes its place."""
_MOST_PIXELS = 16383
"""As wide and as high as WebP gets."""


def write_page(folder: Path, recipe: Recipe, report: Mapping[str, Any]) -> None:
    """Write report.html into an artifact in which everything else but the provenance lies.

    Args:
        folder: The artifact's.
        recipe: What was run.
        report: As in report.json.

    Raises:
        OSError: It can't be written.
    """
    sheet = folder / PREVIEW / SHEET
    text = html(recipe, report, sheet if sheet.is_file() else None)
    (folder / PAGE).write_text(text, encoding="utf-8", newline="\n")


def html(recipe: Recipe, report: Mapping[str, Any], sheet: Path | None = None) -> str:
    """The page: one file that asks for nothing else. All that strangers wrote is escaped, and no script of it runs.

    What steers a display, such as marks of the direction of writing, is shown as an escape wherever it comes from.

    Args:
        recipe: What was run.
        report: As in report.json.
        sheet: The contact sheet; None if there are no previews.
    """
    import jinja2

    # Autoescape for every template, whatever its name ends in.
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rounded = rounded_outputs(recipe, report["rounding"])
    # The outputs' own rounding is no part of the error.
    exact = "0" if rounded else "exact"
    environment.filters |= {
        "number": partial(number, exact=exact),
        "in_words": in_words,
        "label": label,
        "marked": _marked,
    }
    report = json.loads(json.dumps(report, sort_keys=True))  # as it will be read from its file
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    anatomy = anatomy_of(report)
    modules = modules_of(report, anatomy)
    groups = grouped(modules)
    names = [lora["name"] for lora in report["loras"]]
    pairs = [pair for pair in report["overlap"]["pairs"] if pair.get("notable", True)]
    drawn = _drawn_pairs(pairs, anatomy)
    template = environment.get_template("page.html")
    text = template.render(
        recipe=recipe,
        report=report,
        title=title_of(report["base"]["family"]),
        names=names,
        components=sorted(report["fidelity"], key=place_of),
        method=_method_parameters(report["merge"]),
        sheet=None if sheet is None else _picture(sheet),
        fidelity=charts.fidelity(groups),
        norms=charts.norms(groups, names),
        parts={part: groups[part, ALL] for part in rows_of(groups)},
        pairs=pairs,
        left_out=len(report["overlap"]["pairs"]) - len(pairs),
        rounded=rounded,
        drawn=drawn,
        undrawn=sum(bool(pair["modules"]) for pair in pairs) - len(drawn),
        sampled=any(pair["sampled"] for pair in pairs),
        modules=modules,
        cosines=_cosines(pairs),
        shared_rows=any(anatomy.row_of(block) != block for block in anatomy.blocks),
        retains=any(module.retained is not None for module in modules),
        is_open=len(modules) <= _OPEN,
        style=_resource("page.css"),
        script=script,
        script_digest=digest,
    )
    return visible(text)


@dataclass(frozen=True)
class _Pair:
    """A pair of LoRAs with its plots."""

    names: tuple[str, ...]
    whole: Mapping[str, Any]
    charts: list[charts.Chart]


def _drawn_pairs(pairs: list[dict[str, Any]], anatomy: Anatomy) -> list[_Pair]:
    met = [pair for pair in pairs if pair["modules"]]
    chosen = sorted(met, key=lambda pair: -abs(pair["cosine"] or 0.0))[:_MOST_PAIRS]
    return [
        _Pair(tuple(pair["loras"]), pair, charts.overlap(pair, place, anatomy))
        for place, pair in enumerate(met)
        if pair in chosen
    ]


@dataclass(frozen=True)
class _Cosines:
    """A column of the table of modules: how one pair of LoRAs meets there."""

    names: tuple[str, ...]
    by_module: Mapping[str, Mapping[str, Any]]

    def of(self, module: ReportedModule) -> float | None:
        found = self.by_module.get(module.component, {}).get(module.name)
        return None if found is None else found["cosine"]


def _cosines(pairs: list[dict[str, Any]]) -> list[_Cosines]:
    known = [_Cosines(tuple(pair["loras"]), pair["by_module"]) for pair in pairs if pair.get("by_module")]
    return known if len(known) <= _MOST_COSINES else []


def _method_parameters(merge: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parameters of the merge that have a value."""
    given = {key: value for key, value in merge.items() if key not in {"combination_type", "match", "parts"}}
    own = [(key, _listed(value)) for key, value in given.items() if value is not None and value is not False]
    return own + [_part(part) for part in merge.get("parts") or ()]


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _part(part: Mapping[str, Any]) -> tuple[str, str]:
    """What a rule is for, and the rule."""
    settings = ", ".join(f"{key} {value}" for key, value in _method_parameters(part) if key != "engine")
    rule = f"by {part['combination_type']}" + (f" ({settings})" if settings else "")
    return f"in {_listed(part['match'])}", rule


def _marked(text: str) -> Markup:
    """A sentence in which `code` is code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick of somebody else's
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(part) if place % 2 else part for place, part in enumerate(parts))


def _picture(path: Path) -> str:
    """A picture as an address that holds all of it."""
    from PIL import Image

    content, kind = content_of(path), "png"
    if len(content) > _LARGE:
        with Image.open(path) as picture:
            if max(picture.size) <= _MOST_PIXELS:
                out = BytesIO()
                picture.convert("RGB").save(out, "WEBP", quality=90, method=4)
                content, kind = out.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _resource(name: str) -> str:
    return (files("loramerge.reports.page") / name).read_text(encoding="utf-8")
