"""The page about it: docs/methods-compared.md between its marks, and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from compared.figures import LEVEL, RESAMPLES, Estimate, correlation, mean
from compared.judge import CONCEPTS, SHOWS
from compared.measuring import places
from PIL import Image, ImageDraw

KINDS = {2: "pairs", 3: "triples", len(CONCEPTS): "all eight"}
TILE = 64
_LABEL = 190  # pixels, left of the tiles
_REFERENCE = "`cat`"
_SHARES = (-np.inf, 0.25, 0.5, 0.65, 0.8, 0.95, np.inf)


def kind(group: Sequence[str]) -> str:
    return KINDS[len(group)]


def kept(found: Mapping[str, Any], way: str) -> np.ndarray:
    """Whether each concept of a group is in each picture: pictures × concepts, 0 or 1."""
    return _shown(found["ways"][way]["scores"], found["group"])


def _shown(scores: Any, names: Sequence[str]) -> np.ndarray:
    return (np.asarray(scores)[:, places(names)] >= SHOWS).astype(float)


def _groups(results: Sequence[Mapping[str, Any]], way: str, only: str = "") -> list[np.ndarray]:
    return [kept(each, way) for each in results if way in each["ways"] and only in ("", kind(each["group"]))]


def summary(results: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> list[str]:
    """A row for each way: what is kept of pairs, triples and all, the worst picture, all concepts, against cat."""
    kinds = list(dict.fromkeys(kind(each["group"]) for each in results))
    lines = [
        f"| | {' | '.join(kinds)} | over all | worst picture | all concepts in it | against `cat`, points | s |",
        f"|---{'|---:' * (len(kinds) + 5)}|",
        _references(results, kinds),
    ]
    for way in sorted(ways, key=lambda way: -np.mean([each.mean() for each in _groups(results, way)])):
        every = _groups(results, way)
        cells = [mean([each.mean(1) for each in _groups(results, way, only)]).percent for only in kinds]
        cells.append(mean([each.mean(1) for each in every]).percent)
        cells.append(_worst(every).percent)
        cells.append(mean([each.min(1) for each in every]).percent)
        cells.append("" if way == _REFERENCE else against(results, way).points)
        seconds = [each["ways"][way]["seconds"] for each in results if way in each["ways"]]
        lines.append(f"| {way} | {' | '.join(cells)} | {np.median(seconds):.2f} |")
    return lines


def against(results: Sequence[Mapping[str, Any]], way: str, level: float = LEVEL) -> Estimate:
    """By how much more is kept than by `cat`, picture by picture."""
    there = [each for each in results if way in each["ways"] and _REFERENCE in each["ways"]]
    # A wider interval ends farther out, where few of the resampled means lie.
    resamples = RESAMPLES if level == LEVEL else 20 * RESAMPLES
    return mean([kept(each, way).mean(1) - kept(each, _REFERENCE).mean(1) for each in there], level, resamples)


def _worst(groups: Sequence[np.ndarray]) -> Estimate:
    """The mean over groups of the least that a picture keeps; groups alone are resampled."""
    return mean([np.array([each.mean(1).min()]) for each in groups])


def _references(results: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str:
    """Each concept in the pictures of its own LoRA alone: more can't be asked of a merge."""
    cells = [mean([_alone(each) for each in results if kind(each["group"]) == only]).percent for only in kinds]
    cells.append(mean([_alone(each) for each in results]).percent)
    return f"| each LoRA alone, its own concept | {' | '.join(cells)} | | | | |"


def _alone(each: Mapping[str, Any]) -> np.ndarray:
    """By picture, the share of concepts that their own LoRAs show alone."""
    return np.stack([_shown(each["alone"][name]["scores"], [name])[:, 0] for name in each["group"]], 1).mean(1)


def verdict(results: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> list[str]:
    """Which ways keep more than `cat`, and which less, beyond chance: intervals are widened for so many looks."""
    others = [way for way in ways if way != _REFERENCE]
    level = 1 - (1 - LEVEL) / max(len(others), 1)
    found = {way: against(results, way, level) for way in others}
    more = sorted((way for way in others if found[way].low > 0), key=lambda way: -found[way].value)
    less = [way for way in others if found[way].high < 0]
    said = "; ".join(f"{way} ({found[way].points} points)" for way in more)
    return [
        f"Over all groups, with intervals that are widened for {len(others)} comparisons (Bonferroni):",
        "",
        f"- more than `cat` is kept by {said or 'none of them'};",
        f"- less than `cat` by {'; '.join(less) or 'none of them'};",
        f"- the other {len(others) - len(more) - len(less)} can't be told from `cat` here.",
    ]


def by_concept(results: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> list[str]:
    """A row for each way, a column for each concept."""
    lines = [f"| | {' | '.join(CONCEPTS)} |", f"|---{'|---:' * len(CONCEPTS)}|"]
    for way in ("each LoRA alone", "base", *ways):
        cells = []
        for name in CONCEPTS:
            there = [each for each in results if name in each["group"]]
            if way == "base":
                values = [_shown(each["base"]["scores"], [name]) for each in there]
            elif way == "each LoRA alone":
                values = [_shown(each["alone"][name]["scores"], [name]) for each in there]
            else:
                values = [kept(each, way)[:, each["group"].index(name)] for each in there if way in each["ways"]]
            cells.append(f"{100 * np.mean([value.mean() for value in values]):.0f}" if values else "–")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def by_group(results: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> list[str]:
    """A row for each group: what `cat` keeps, what the ways keep in the mean, and the most that one of them does."""
    lines = ["| | each LoRA alone | `cat` | mean of all ways | the most | by |", "|---|---:|---:|---:|---:|---|"]
    for each in results:
        found = {way: kept(each, way).mean() for way in ways if way in each["ways"]}
        best = max(found, key=lambda way: found[way])
        name = " + ".join(each["group"]) if len(each["group"]) < len(CONCEPTS) else "all eight"
        shares = (_alone(each).mean(), found.get(_REFERENCE, np.nan), np.mean(list(found.values())), found[best])
        lines.append(f"| {name} | {' | '.join(f'{100 * share:.0f}' for share in shares)} | {best} |")
    return lines


def scores(results: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> list[str]:
    """Spearman's correlation of what is known without a picture with what the pictures keep."""
    merges = [(number, each, way) for number, each in enumerate(results) for way in ways if way in each["ways"]]
    rows = []

    def row(what: str, of: str, cases: Sequence[tuple[float, float, int]]) -> None:
        known = np.array([case for case in cases if np.isfinite(case[0])])
        found = correlation(known[:, 0], known[:, 1], known[:, 2]) if len(known) else Estimate(*[float("nan")] * 3)
        rows.append(f"| {what} | {of} | {len(known)} | {found} |")

    def of_merge(value: Any) -> list[tuple[float, float, int]]:
        return [
            (np.nan if (one := value(each["ways"][way])) is None else one, kept(each, way).mean(), number)
            for number, each, way in merges
        ]

    def of_lora(key: str) -> list[tuple[float, float, int]]:
        return [
            (held, kept(each, way)[:, place].mean(), number)
            for number, each, way in merges
            for place, held in enumerate(each["ways"][way][key])
        ]

    def least(key: str) -> Any:
        return lambda found: min(found[key])

    row("fidelity error", "merge: mean of its concepts", of_merge(lambda found: found["error"]))
    row("energy kept, least of its LoRAs", "merge: mean of its concepts", of_merge(least("energy")))
    row("share kept, least of its LoRAs", "merge: mean of its concepts", of_merge(least("share")))
    row("energy kept", "LoRA in a merge: its concept", of_lora("energy"))
    row("share kept", "LoRA in a merge: its concept", of_lora("share"))
    pairs = [(number, each) for number, each in enumerate(results) if kind(each["group"]) == "pairs"]
    named = {
        "cosine": "cosine, its size",
        "columns": "subspace overlap, written",
        "rows": "subspace overlap, read",
        "signs": "sign conflict",
    }
    for key, what in named.items():
        for words, chosen in (("merged by `cat`", [_REFERENCE]), ("mean of all ways", list(ways))):
            cases = [
                (
                    each["pairs"][key],
                    float(np.mean([kept(each, way).mean() for way in chosen if way in each["ways"]])),
                    number,
                )
                for number, each in pairs
            ]
            row(what, f"pair {words}", cases)
    return [
        "| score without pictures | against what is kept, by | cases | Spearman’s correlation |",
        "|---|---|---:|---:|",
        *rows,
    ]


def left(results: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> list[str]:
    """How often a concept is seen, by how much of its LoRA the merge holds."""
    cases = [
        (held, kept(each, way)[:, place].mean(), number)
        for number, each in enumerate(results)
        for way in ways
        if way in each["ways"]
        for place, held in enumerate(each["ways"][way]["share"])
    ]
    lines = ["| share of the LoRA in the merge | cases | concept seen |", "|---|---:|---:|"]
    for low, high in pairwise(_SHARES):
        found: dict[int, list[float]] = {}
        for held, seen, number in cases:
            if low <= held < high:
                found.setdefault(number, []).append(seen)
        words = f"below {high:g}" if low == -np.inf else f"from {low:g}" if high == np.inf else f"{low:g} to {high:g}"
        seen = mean([np.array(each) for each in found.values()])
        lines.append(f"| {words} | {sum(map(len, found.values()))} | {seen.percent} |")
    return lines


def text(run: Mapping[str, Any]) -> str:
    """All that stands between the marks, of what run.py writes."""
    results = run["results"]
    ways = [way for way in run["ways"] if any(way in each["ways"] for each in results)]
    main = [way for way in ways if run["ways"][way]]
    accuracy = run["judge"]
    count = {only: sum(kind(each["group"]) == only for each in results) for only in KINDS.values()}
    lines = [
        _covered(run, count, len(ways), sum(len(each["ways"]) for each in results)),
        "",
        "### What is kept",
        "",
        (
            "Of the concepts that should be in the pictures, the share that is, in per cent, with 95 % bootstrap "
            "intervals over groups and pictures. Worst picture: the mean over groups of the least that one picture of "
            "them keeps. Against `cat`: the difference, picture by picture. Last column: the median time of a merge."
        ),
        "",
        *summary(results, main),
        "",
        *verdict(results, ways),
        "",
        *(_folded("All settings", summary(results, ways)) if ways != main else []),
        *_folded("By concept, in per cent of pictures", by_concept(results, main)),
        *_folded(
            "By group, in per cent of concepts; who keeps the most is chosen after the fact, and flattered",
            by_group(results, main),
        ),
        "### How well the classifier sees",
        "",
        (
            "Share of pictures that it judges rightly. The last two rows are of pictures that the miniature draws: "
            "with the LoRA of the concept alone it should be seen, without any it should not. What is missing in the "
            "first of them may be the fault of the classifier or of the LoRA."
        ),
        "",
        f"| | {' | '.join(CONCEPTS)} |",
        f"|---{'|---:' * len(CONCEPTS)}|",
        *(
            f"| {name} | {' | '.join(f'{100 * values[each]:.1f} %' for each in CONCEPTS)} |"
            for name, values in accuracy.items()
        ),
        f"| drawn by its LoRA alone: seen | {' | '.join(_seen(results, alone=True))} |",
        f"| drawn by the base: not seen | {' | '.join(_seen(results, alone=False))} |",
        "",
        "### Scores without pictures",
        "",
        (
            "Spearman’s rank correlation with 95 % bootstrap intervals; groups are resampled whole. An interval that "
            "holds 0 says that nothing is known."
        ),
        "",
        *scores(results, ways),
        "",
        *left(results, ways),
        "",
        (
            f"Measured on {run['machine']} in {run['minutes']:.0f} minutes of {run['jobs']} processes "
            f"({run['cpu_minutes']:.0f} minutes of processor time){_before(results)}, with `{run['command']}`; "
            f"{run['versions']}."
        ),
    ]
    return "\n".join(lines)


def _before(results: Sequence[Mapping[str, Any]]) -> str:
    count = sum("before" in each for each in results)
    return f", beside {count} groups that earlier runs had measured, of which the time is not counted" if count else ""


def _covered(run: Mapping[str, Any], count: Mapping[str, int], ways: int, merges: int) -> str:
    left_out = f" {run['left_out']} more groups were left out: the machine was too busy." if run["left_out"] else ""
    return (
        f"{count['pairs']} pairs, {count['triples']} triples and {count['all eight']} of all eight; {ways} ways to "
        f"merge; {run['seeds']} pictures of each, {run['steps']} steps of the sampler, guidance {run['guidance']:g}. "
        f"{merges} merges, {merges * run['seeds']} pictures.{left_out}"
    )


def _seen(results: Sequence[Mapping[str, Any]], *, alone: bool) -> list[str]:
    cells = []
    for name in CONCEPTS:
        there = [each for each in results if name in each["group"]]
        given = [each["alone"][name]["scores"] if alone else each["base"]["scores"] for each in there]
        found = [_shown(each, [name]).mean() for each in given]
        cells.append(f"{100 * (np.mean(found) if alone else 1 - np.mean(found)):.1f} %" if found else "–")
    return cells


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return [f'<details markdown="1"><summary>{title}</summary>', "", *lines, "", "</details>", ""]


def sheet(results: Sequence[Mapping[str, Any]], ways: Sequence[str], path: Path) -> None:
    """The first picture of each group by each way, as a JPEG.

    Args:
        results: Of the groups that become columns, with their pictures.
        ways: Rows, after the base.
        path: Where it goes.
    """
    names = ["base", *(way for way in ways if all(way in each["ways"] for each in results))]
    head = 28
    image = Image.new("RGB", (_LABEL + TILE * len(results), head + TILE * len(names)), "white")
    pen = ImageDraw.Draw(image)
    for column, each in enumerate(results):
        words = each["group"] if len(each["group"]) < len(CONCEPTS) else ("all",)
        pen.text((_LABEL + column * TILE + 2, 1), "\n".join([" ".join(words[:2]), " ".join(words[2:])]), fill="black")
        for row, name in enumerate(names):
            found = each["base"] if name == "base" else each["ways"][name]
            image.paste(
                Image.fromarray(np.asarray(found["pictures"][0], dtype=np.uint8)),
                (_LABEL + column * TILE, head + row * TILE),
            )
    for row, name in enumerate(names):
        pen.text((4, head + row * TILE + TILE // 2 - 6), name.replace("`", "").replace(", ", ",\n"), fill="black")
    image.save(path, quality=88)
