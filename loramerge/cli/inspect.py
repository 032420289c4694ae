"""`loramerge inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, overlap, progress
from loramerge.cli.each import each_of
from loramerge.errors import ExitCode, common
from loramerge.masking import masked
from loramerge.messages import any_of, counted, excerpt

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.analysis.inspected import Group, InspectedModule, Inspection
    from loramerge.bases.base import Base
    from loramerge.progress import Progress

_LARGEST = 5
_PLAIN, _DORA = "LoRA", "DoRA"
_UNTOLD = ", of a DoRA without its magnitudes: what they do depends on the base's weights"
_TAGS = 8
_MOST = 12
_HIGHLIGHTS = (
    "modelspec.title",
    "modelspec.author",
    "modelspec.license",
    "modelspec.architecture",
    "ss_output_name",
    "ss_base_model_version",
    "ss_sd_model_name",
    "ss_network_module",
    "ss_network_dim",
    "ss_network_alpha",
    "ss_num_train_images",
    "ss_num_epochs",
)


@click.command(
    epilog=options.examples(
        "loramerge inspect ink.safetensors",
        "loramerge inspect hf://owner/lora --revision v1.0 --base hf://owner/model",
        "loramerge inspect ink.safetensors glow.safetensors",
        "loramerge inspect a.safetensors b.safetensors --json | jq -r '.[].family'",
    )
)
@click.argument("loras", metavar="LORA...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--base",
    metavar="REF",
    type=click.Path(),
    help="A folder, hf://owner/name or a family; every module is compared with it.",
)
@click.option("--revision", metavar="NAME", help="Branch, tag or commit of LORA, where it is on the Hub.")
@options.as_json
@options.verbose
def command(loras: tuple[str, ...], base: str | None, revision: str | None, as_json: bool, verbose: bool) -> ExitCode:
    """Show what LoRAs are, and what they do to each other.

    LORA is a file, a folder, or hf://owner/name[/file]; of a place that holds several, such as an artifact, each is
    shown: its family, format, modules, ranks, alphas, norms and metadata. With -v every module is listed. Several
    LoRAs are compared before anything is merged: where they pull the same way, where they undo each other. With --json
    every LoRA has that under `overlap`, once for each of the others.
    """
    from loramerge.analysis.inspection import labels, overlaps_of, twins_of
    from loramerge.bases.published import architecture
    from loramerge.recipe.given_base import GivenBase
    from loramerge.recipe.one_shot import unweighted
    from loramerge.stages.base import load_base

    given = GivenBase.parse(base)
    known = load_base(given.source) if given.source else architecture(given.family) if given.family else None
    found: list[tuple[Inspection, Adapter]] = []

    def inspected(lora: str) -> dict[str, Any]:
        with progress.shown(labels([masked(lora)])[0], as_json=as_json) as watcher:
            here = list(_inspected(unweighted(lora), known, revision, watcher))
        found.extend(here)
        for inspection, _ in [] if as_json else here:
            console.result("\n".join(_inspection_lines(inspection, verbose=verbose)))
            if inspection.misfit:
                console.warning(f"{inspection.misfit} --base names the model that it was trained on")
        return {"held": len(here)}

    told, failures = each_of(
        loras, inspected, lambda lora, found: {"reference": lora, "error": found.data}, as_json=as_json, verbose=verbose
    )
    inspections = [inspection for inspection, _ in found]
    with progress.shown(counted(len(found), "LoRA"), as_json=as_json) as watcher:
        pairs = overlaps_of(found, progress=watcher)
    if as_json:
        whole = iter(overlap.documents(inspections, pairs))
        console.document([
            document for each in told for document in (islice(whole, each["held"]) if "held" in each else [each])
        ])  # fmt: skip
    else:
        overlap.show(inspections, pairs, twins_of(found), verbose=verbose)
    return common(failures)


def _inspected(
    lora: str, base: Base | None, revision: str | None, watcher: Progress
) -> Iterator[tuple[Inspection, Adapter]]:
    """The LoRA of a place, or each of the few that it holds."""
    from loramerge.analysis.inspection import inspect_adapter
    from loramerge.formats.lora_files import SeveralLorasError

    try:
        yield inspect_adapter(lora, base, revision=revision, progress=watcher)
    except SeveralLorasError as error:
        if not error.references or len(error.references) > _MOST:
            raise
        for each in error.references:
            yield inspect_adapter(each, base, revision=revision, progress=watcher)


def _inspection_lines(inspection: Inspection, *, verbose: bool) -> Iterator[str]:
    whole = inspection.whole
    rows = [("family", _family(inspection)), ("format", inspection.format)]
    if inspection.trained_on:
        rows.append(("trained on", excerpt(inspection.trained_on)))
    if inspection.revision:
        rows.append(("revision", inspection.revision))
    for file in inspection.files:
        dtypes = "".join(f", {count} × {dtype}" for dtype, count in file.dtypes.items())
        rows.append(("file", f"{file.name}, {console.size(file.size)}{dtypes}"))
    by_component = ", ".join(f"{group.name} {len(group.modules)}" for group in inspection.components)
    rows.append(("modules", f"{len(whole.modules)}: {by_component}"))
    kinds = Counter(module.kind for module in whole.modules)
    if {*kinds} != {_PLAIN}:
        rows.append(("kind", ", ".join(f"{kind} ({counted(count, 'module')})" for kind, count in kinds.items())))
    rows += [
        ("rank", _distribution(whole.count(lambda module: module.rank))),
        ("alpha", _distribution(whole.count(lambda module: module.alpha))),
        ("scale", _distribution(whole.count(lambda module: module.scale))),
        ("norm", f"{whole.norm:.4g}{_UNTOLD if _DORA in kinds else ''}"),
    ]
    rows += [("in full", f"{name}, {console.size(size)}") for name, size in inspection.saved.items()]
    yield inspection.reference
    yield console.table(rows)
    yield ""
    yield console.table([("block", "modules", "rank", "norm"), *map(_block_row, inspection.rows)])
    yield ""
    shown = inspection.modules if verbose else inspection.largest(_LARGEST)
    heading = "module" if verbose else "largest modules"
    yield console.table([(heading, "shape", "rank", "scale", "norm"), *map(_module_row, shown)])
    if inspection.metadata:
        yield ""
        yield from _metadata(inspection.metadata, verbose=verbose)


def _family(inspection: Inspection) -> str:
    from loramerge.families import title_of

    if inspection.family:
        return title_of(inspection.family)
    if inspection.candidates and inspection.is_of_known_parts:
        return f"not certain; {any_of(inspection.candidates)} has such modules, --base says which"
    if inspection.candidates:
        return f"unknown; modules have such names in {any_of(inspection.candidates)}"
    return "unknown; give --base" if inspection.is_of_known_parts else "unknown"


def _distribution(counts: Mapping[float, int]) -> str:
    if not counts:
        return "none: no layer's weight is changed"
    if len(counts) == 1:
        return f"{next(iter(counts)):g}"
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_LARGEST]
    more = f" and {len(counts) - len(common)} more values" if len(counts) > len(common) else ""
    return ", ".join(f"{value:g} ({counted(count, 'module')})" for value, count in common) + more


def _block_row(group: Group) -> tuple[str, ...]:
    ranks = sorted(group.count(lambda module: module.rank))
    shown = "-".join(f"{rank:g}" for rank in dict.fromkeys([*ranks[:1], *ranks[-1:]]))
    return group.name, str(len(group.modules)), shown, f"{group.norm:.4g}"


def _module_row(module: InspectedModule) -> tuple[str, ...]:
    shape = "×".join(map(str, module.shape))
    return f"{module.component}.{module.name}", shape, str(module.rank or ""), f"{module.scale:g}", f"{module.norm:.4g}"


def _metadata(metadata: Mapping[str, str], *, verbose: bool) -> Iterator[str]:
    from loramerge.formats.trigger_words import said

    chosen = [key for key in (metadata if verbose else _HIGHLIGHTS) if key in metadata]
    rows = [("trigger phrase", phrase) for phrase in said(metadata)]
    rows += [("tags", tags)] if (tags := _most_common_tags(metadata)) else []
    rows += [(key, metadata[key]) for key in chosen]
    if others := sorted(metadata.keys() - set(chosen)):
        rows.append(("others", ", ".join(others)))
    yield "  metadata"
    yield console.table([(key, excerpt(value)) for key, value in rows], indent="    ")


def _most_common_tags(metadata: Mapping[str, str]) -> str:
    from loramerge.errors import SourceError
    from loramerge.formats.trigger_words import tag_frequency

    try:
        counts = tag_frequency("", metadata)
    except SourceError:
        return ""
    totals: dict[str, int] = {}
    for tags in counts.values():
        for tag, count in tags.items():
            totals[tag.strip()] = totals.get(tag.strip(), 0) + count
    return ", ".join(sorted(totals, key=lambda tag: -totals[tag])[:_TAGS])
