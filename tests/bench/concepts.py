"""What each combination type keeps: concepts counted in pictures that the miniature draws.

    python tests/bench/concepts.py [--seeds 8] [--steps 20] [--guidance 2.0] [--page FILE]

For each pair of LoRAs the base, each LoRA alone, both stacked (diffusers' `set_adapters`) and every merge draw the same
prompt from the same noise, with weights of 1. `recipes/quickstart/train/concepts.py` measures each picture. A cell says
in how many of the pictures the first concept, the second and both are to be seen, then the mean score of each. `cat`
must draw what the stacked LoRAs draw; the largest difference of a pixel is printed, and a large one is an error.
The types that combine factors take equal ranks alone: for them the smaller LoRA is filled up with zeros, which leaves
its delta as it is. The `*_svd` types cut to the larger of both ranks, their default. Merges are made by
`combine` with `engine: factored`; their time is that of `combine`, the median over the pairs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from pydantic import TypeAdapter

from loramerge import WeightedAdapter, combine, load_adapter, load_base
from loramerge.bases.quiet import quiet
from loramerge.formats.diffusers import DiffusersOutput
from loramerge.formats.labels import Labels
from loramerge.methods import Merge

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "recipes" / "quickstart"
PAGE = ROOT / "docs" / "miniature.md"
sys.path[:0] = [str(MODELS), str(ROOT / "tests")]

from filled import filled_up, rank_of  # noqa: E402 - it lies above this folder
from marked import inserted  # noqa: E402 - the same
from train import concepts  # noqa: E402 - it lies beside the models that it measures

PAIRS = {
    ("ink", "glow"): "a big green circle in ink at night",
    ("star", "glow"): "a red star at night",
    ("star", "ink"): "a big blue star in ink",
    ("paper", "glow"): "a purple square on paper at night",
}
DENSITY = {"density": 0.5}
TYPES = {
    "cat": {},
    "svd": {},
    "linear": {},
    "ties": DENSITY,
    "ties_svd": DENSITY,
    "dare_linear": DENSITY,
    "dare_linear_svd": DENSITY,
    "dare_ties": DENSITY,
    "dare_ties_svd": DENSITY,
    "magnitude_prune": DENSITY,
    "magnitude_prune_svd": DENSITY,
}
TOLERANCE = 1e-3  # of a pixel from 0 to 1


@dataclass(frozen=True)
class Counted:
    """Of the pictures of one column: how many show each concept and both, and the mean scores."""

    pair: tuple[str, str]
    scores: tuple[dict[str, float], ...]

    @property
    def both(self) -> int:
        return sum(all(concepts.shows(name, each[name]) for name in self.pair) for each in self.scores)

    def __str__(self) -> str:
        shown = [sum(concepts.shows(name, each[name]) for each in self.scores) for name in self.pair]
        means = [statistics.mean(each[name] for each in self.scores) for name in self.pair]
        return f"{shown[0]} · {shown[1]} · **{self.both}** ({means[0]:.2f}, {means[1]:.2f})"


class Painter:
    """The miniature, loaded once."""

    def __init__(self, arguments) -> None:
        self.arguments = arguments
        self.pipeline = DiffusionPipeline.from_pretrained(MODELS / "base", local_files_only=True)
        self.pipeline.set_progress_bar_config(disable=True)

    def __call__(self, prompt: str, *adapters: Path):
        """Pictures × height × width × 3, from 0 to 1, by the base with LoRAs of weight 1."""
        names = [path.stem for path in adapters]
        for name, path in zip(names, adapters, strict=True):
            self.pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name)
        if names:
            self.pipeline.set_adapters(names, [1.0] * len(names))
        seeds = range(self.arguments.seeds)
        found = self.pipeline(
            [prompt] * len(seeds),
            num_inference_steps=self.arguments.steps,
            guidance_scale=self.arguments.guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        ).images
        self.pipeline.unload_lora_weights()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes, between its marks")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    begin = time.monotonic()
    with quiet(), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        columns, seconds, differences = draw(Painter(arguments), Path(folder))
    text = table(columns, seconds, arguments.seeds)
    page = inserted(arguments.page.read_text(encoding="utf-8"), "concepts", text)
    arguments.page.write_text(page, encoding="utf-8", newline="\n")
    print(text)
    for pair, difference in differences.items():
        print(f"{' + '.join(pair)}: cat differs from the stacked LoRAs by at most {difference:.1e} of a pixel")
    print(f"{time.monotonic() - begin:.0f} s")
    if max(differences.values()) > TOLERANCE:
        sys.exit(f"cat does not draw what the stacked LoRAs draw: wanted {TOLERANCE:.0e} at most")


def draw(paint: Painter, folder: Path):
    """(pair → column → counted, type → seconds of each merge, pair → largest difference of cat)."""
    base = load_base(str(MODELS / "base"))
    files = {name: MODELS / f"{name}.safetensors" for pair in PAIRS for name in pair}
    adapters = {name: load_adapter(str(path), base) for name, path in files.items()}
    columns, seconds, differences = {}, {name: [] for name in TYPES}, {}
    for pair, prompt in PAIRS.items():
        pictures = {
            "base": paint(prompt),
            "the first alone": paint(prompt, files[pair[0]]),
            "the second alone": paint(prompt, files[pair[1]]),
            "stacked": paint(prompt, *(files[name] for name in pair)),
        }
        for name, parameters in TYPES.items():
            settings = {"combination_type": name, "engine": "factored", **parameters}
            method = TypeAdapter(Merge).validate_python(settings)
            parts = {each: adapters[each] for each in pair}
            if method.factor_wise:
                rank = max(rank_of(part) for part in parts.values())
                parts = {each: filled_up(part, rank) for each, part in parts.items()}
            start = time.perf_counter()
            merged = combine([WeightedAdapter(*part) for part in parts.items()], base, method, device="cpu")
            seconds[name].append(time.perf_counter() - start)
            DiffusersOutput(kind="adapter", format="diffusers").write_adapter(
                merged.adapter, base, Labels(name), folder
            )
            pictures[f"`{name}`"] = paint(prompt, folder / "pytorch_lora_weights.safetensors")
        differences[pair] = float(np.abs(pictures["`cat`"] - pictures["stacked"]).max())
        columns[pair] = {
            column: Counted(pair, tuple(concepts.measure(each) for each in drawn)) for column, drawn in pictures.items()
        }
        print(f"{' + '.join(pair)}: done", file=sys.stderr, flush=True)
    return columns, seconds, differences


def table(columns, seconds, seeds: int) -> str:
    """Markdown: a row for each way to draw, a column for each pair."""
    lines = [
        f"Of {seeds} pictures: how many show the first concept · the second · **both** (mean score of each).",
        "",
        f"| | {' | '.join(' + '.join(pair) for pair in columns)} | merged in |",
        f"|---{'|---' * len(columns)}|---:|",
    ]
    for row in next(iter(columns.values())):
        times = seconds.get(row.strip("`"))
        took = f"{statistics.median(times):.2f} s" if times else ""
        lines.append(f"| {row} | {' | '.join(str(each[row]) for each in columns.values())} | {took} |")
    prompts = "; ".join(f"“{prompt}”" for prompt in PAIRS.values())
    return "\n".join([*lines, "", f"Prompts: {prompts}.", ""])


if __name__ == "__main__":
    main()
