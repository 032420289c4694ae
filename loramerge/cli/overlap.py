"""What `loramerge inspect` says of several LoRAs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from loramerge.cli import console
from loramerge.messages import counted

if TYPE_CHECKING:
    from loramerge.analysis.inspected import Inspection
    from loramerge.analysis.overlap import PairOverlap
    from loramerge.analysis.overlap_measures import Overlap
    from loramerge.analysis.twins import Twins

_MEASURES = """\
  cosine         of the deltas: 1 the same, 0 unrelated, -1 one undoes the other
  columns, rows  share of what they write to, and of what they read, that both have
  signs          share that differs where both do something: 0.5 unrelated, 1 all of it"""


def documents(inspections: Sequence[Inspection], pairs: Sequence[PairOverlap]) -> list[dict[str, Any]]:
    """Every LoRA as plain data, each with its overlap with every other one, as seen from it."""
    from loramerge.analysis.advice import advice
    from loramerge.analysis.conflicts import conflicts
    from loramerge.analysis.inspection import labels
    from loramerge.analysis.overlap_json import by_block

    names = labels([inspection.reference for inspection in inspections])
    found = {name: {**inspection.as_data(), "overlap": []} for name, inspection in zip(names, inspections, strict=True)}
    for pair in pairs:
        for own, other in (pair.names, pair.names[::-1]):
            alone = dict(zip(pair.names, pair.alone, strict=True))
            entry = {
                "with": found[other]["reference"],
                "alone": {"this": alone[own], "other": alone[other]},
                **by_block(pair),
                "same": pair.same or None,
                "advice": advice(pair),
                "warnings": [f"{' and '.join(pair.names)} are {pair.same}"] if pair.same else conflicts([pair]),
            }
            found[own]["overlap"].append(entry)
    return list(found.values())


def show(
    inspections: Sequence[Inspection], pairs: Sequence[PairOverlap], same: Sequence[Twins], *, verbose: bool
) -> None:
    """Print the overlap by block of the pairs that have most to do with each other; of all, by module, if `verbose`.

    What to think over goes to standard error.
    """
    from loramerge.analysis.conflicts import conflicts
    from loramerge.analysis.inspection import labels
    from loramerge.analysis.notable import notable

    shown = pairs if verbose else notable(pairs)
    for pair in shown:
        console.result("\n".join(_overlap_lines(pair, verbose=verbose)))
    if any(pair.modules for pair in shown):
        console.result(f"\n{_MEASURES}")
    if left := len(pairs) - len(shown):
        console.note(f"{counted(left, 'pair')} not shown: the same LoRAs, or with less in common; -v shows all")
    compared = [pair.names for pair in pairs]
    for names in combinations(labels([inspection.reference for inspection in inspections]), 2):
        if names not in compared:
            console.note(f"{names[0]} and {names[1]} are for different models, and were not compared")
    for sentence in (*map(str, same), *conflicts(pairs)):
        console.warning(sentence)


def _overlap_lines(pair: PairOverlap, *, verbose: bool) -> Iterator[str]:
    from loramerge.analysis.advice import advice
    from loramerge.analysis.overlap_measures import summed

    one, other = pair.names
    whole = summed(pair.modules.values())
    yield ""
    yield f"overlap of {one} and {other}"
    if pair.same:
        yield f"  {pair.same}"
    yield f"  {counted(len(pair.modules), 'module')} in both{''.join(_more(pair))}"
    yield f"  {advice(pair)}"
    if not pair.modules:
        return
    if verbose:
        heading, groups = "module", {f"{component}.{name}": each for (component, name), each in pair.modules.items()}
    else:
        heading, groups = "block", pair.parts
    rows = [_row(name, found) for name, found in [*groups.items(), ("all", whole)]]
    yield console.table([(heading, "modules", "cosine", "columns", "rows", "signs"), *rows])
    if whole.sampled:
        from loramerge.analysis.overlap_measures import COLUMNS, ROWS

        yield (
            f"  signs of {counted(whole.sampled, 'module')} from {ROWS} rows and {COLUMNS} columns of each, "
            "where there are more"
        )


def _more(pair: PairOverlap) -> Iterator[str]:
    for name, count in zip(pair.names, pair.alone, strict=True):
        if count:
            yield f", {count} in {name} alone"
    if pair.unlike:
        yield f", {pair.unlike} of different shapes"


def _row(name: str, overlap: Overlap) -> tuple[str, ...]:
    shares = (overlap.column_overlap, overlap.row_overlap, overlap.sign_conflict)
    cosine = "-" if overlap.cosine is None else f"{round(overlap.cosine, 3) + 0.0:+.3f}"
    return name, str(overlap.modules), cosine, *("-" if share is None else f"{share:.2f}" for share in shares)
