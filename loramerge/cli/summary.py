"""What a run did, in a few lines and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.analysis.fidelity import EXACT
from loramerge.analysis.rounding import rounded_outputs
from loramerge.artifact.contents import PAGE, PREVIEW, REPORT, SHEET, SIGNATURE
from loramerge.cli import console
from loramerge.messages import counted, some
from loramerge.recipe.weights import single

if TYPE_CHECKING:
    from loramerge import Plan, Recipe, Result
    from loramerge.targets.target import Receipt

_WORST = 5


def of(path: str, recipe: Recipe, result: Result, *, seconds: float, kept: bool = True) -> dict[str, Any]:
    """The run as plain data.

    Args:
        path: As the command line names the recipe.
        recipe: What was run.
        result: What came of it.
        seconds: How long it took.
        kept: Whether the artifact stays where it was made.
    """

    def place(name: str) -> str | None:
        path = result.artifact / name
        return str(path) if kept and path.exists() else None

    return {
        "recipe": path,
        "name": recipe.name,
        "status": "built",
        "artifact": str(result.artifact) if kept else None,
        "report": place(REPORT),
        "page": place(PAGE),
        "preview": place(f"{PREVIEW}/{SHEET}"),
        "signature": place(SIGNATURE),
        "outputs": {output.folder: _files_in(result, output.folder) for output in recipe.outputs},
        "fidelity": dict(result.fidelity),
        "warnings": list(result.warnings),
        "hashed_before": list(result.hashed_before),
        "published": [asdict(receipt) for receipt in result.receipts],
        "seconds": round(seconds, 1),
    }


def text(recipe: Recipe, result: Result, facts: Mapping[str, Any], *, verbose: bool) -> str:
    """The run in a few lines; with the worst modules if `verbose`."""
    artifact = near(result.artifact) if facts["artifact"] else "published alone, not kept"
    rows = [*merge_rows(recipe, result.report, result.fidelity), ("artifact", artifact)]
    for name, output in facts["outputs"].items():
        rows.append((f"  {name}", f"{counted(output['files'], 'file')}, {console.size(output['size'])}"))
    rows += storage_rows(result.report)
    if page := facts["page"] or facts["report"]:
        rows.append(("report", near(Path(page))))
    if facts["preview"]:
        rows.append(("preview", near(Path(facts["preview"]))))
    if facts["signature"]:
        rows.append(("signed", near(Path(facts["signature"]))))
    rows += _published(result.receipts)
    if known := facts["hashed_before"]:
        said = f"{counted(len(known), 'file')} unchanged since an earlier run hashed it"
        rows.append(("inputs", f"{said}: {some(known)}; --verify-inputs reads them again"))
    rows.append(("time", f"{facts['seconds']:.1f} s"))
    lines = [recipe.name, console.table(rows)]
    if verbose:
        lines.append("  worst modules")
        lines += [f"    {name}  {_error_text(error)}" for name, error in _worst(result.report)]
    return "\n".join(lines)


def merge_rows(
    recipe: Recipe, report: Mapping[str, Any], fidelity: Mapping[str, float | None]
) -> Iterator[tuple[str, str]]:
    """What was merged, how, how far the result is from the weighted sum, and what rounding then does to it."""
    yield "merged", ", ".join(_lora_text(lora) for lora in report["loras"])
    yield "type", _method_text(report["merge"])
    rounded = rounded_outputs(recipe, report["rounding"])
    exact = "exact before rounding" if rounded else "exact"
    yield "fidelity", ", ".join(f"{component} {_error_text(error, exact)}" for component, error in fidelity.items())
    if rounded:
        yield "rounding", "; ".join(f"{', '.join(folders)}: {words}" for words, folders in rounded.items())


def storage_rows(report: Mapping[str, Any], setting: str = "dtype: {}") -> Iterator[tuple[str, str]]:
    """What outputs in float32 would take in the fewer bits that they come from.

    Args:
        report: What report.json says.
        setting: How the command is told of another number format.
    """
    if found := report["storage"]:
        each = " each" if len(found["outputs"]) > 1 else ""
        sizes = f"{console.size(found['size_in_dtype'])}{each} instead of {console.size(found['size'])}"
        how = f"with {setting.format(found['dtype'])}, as the LoRAs are"
        yield "smaller", f"{', '.join(found['outputs'])}: {sizes} {how}"


def of_published(path: str, plan: Plan, receipts: Sequence[Receipt]) -> dict[str, Any]:
    """What was done with an artifact that needed no building, as plain data."""
    return {
        "recipe": path,
        "name": plan.recipe.name,
        "status": "published" if receipts else "up to date",
        "artifact": plan.artifact.place if Path(plan.artifact.place).exists() and not plan.stale else None,
        "published": [asdict(receipt) for receipt in receipts],
    }


def text_of_published(plan: Plan, receipts: Sequence[Receipt]) -> str:
    """The same in a few lines."""
    if not receipts:
        said = f"; {near(Path(plan.artifact.place))} is of another state: {plan.stale[0]}" if plan.stale else ""
        return f"{plan.recipe.name}: up to date{said}"
    rows = [("artifact", f"{near(Path(plan.artifact.place))} (there already)"), *_published(receipts)]
    return f"{plan.recipe.name}\n{console.table(rows)}"


def near(path: Path) -> str:
    """A path as seen from the current folder, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _published(receipts: Sequence[Receipt]) -> Iterator[tuple[str, str]]:
    for receipt in receipts:
        yield "published", f"{_published_at(receipt)}{'' if receipt.changed else ' (there already)'}"


def _published_at(receipt: Receipt) -> str:
    if receipt.url is None:
        return near(Path(receipt.place))
    return f"{receipt.url} at {receipt.commit[:8]}" if receipt.commit else receipt.url


def _files_in(result: Result, folder: str) -> dict[str, int]:
    sizes = [file.stat().st_size for file in (result.artifact / folder).rglob("*") if file.is_file()]
    return {"files": len(sizes), "size": sum(sizes)}


def _lora_text(lora: Mapping[str, Any]) -> str:
    weight = single(lora["weight"])
    shown = "weights by block" if weight is None else f"{weight:g}"
    ranks = f"rank {', '.join(lora['ranks'])}" if lora["ranks"] else "no layers"
    return f"{lora['name']} × {shown} ({ranks}; {lora['format']})"


def _method_text(method: Mapping[str, Any]) -> str:
    named = {"combination_type", "engine", "match", "parts"}
    parameters = {key: value for key, value in method.items() if key not in named}
    said = {key: value for key, value in parameters.items() if value is not None and value is not False}
    given = ", ".join(f"{key} {_value_text(value)}" for key, value in said.items())
    own = f"{method['combination_type']} ({given})" if given else str(method["combination_type"])
    parts = [f"in {_value_text(part['match'])}: {_method_text(part)}" for part in method.get("parts") or ()]
    return "; ".join([own, *parts])


def _value_text(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {each}" for key, each in value.items() if each is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _error_text(error: float | None, exact: str = "") -> str:
    if error is None:
        return "nothing to compare with"
    return f"{error:.1e}{f' ({exact})' if exact else ''}" if error <= EXACT else f"{error:.2g}"


def _worst(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    rows = [
        (f"{component}.{module}", entry["error"])
        for component, part in report["fidelity"].items()
        for module, entry in part["modules"].items()
        if entry["error"] is not None
    ]
    yield from sorted(rows, key=lambda row: (-row[1], row[0]))[:_WORST]
