"""Adapter outputs whose bytes depend on no machine are what they were. `python tests/test_golden.py` writes anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file, save_file

from loramerge import read_recipe, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "adapters.json"
# What decomposes adds up in an order that depends on the machine.
TYPES = {
    "cat": "",
    "linear": "",
    "ties": ", density: 0.5",
    "dare_linear": ", density: 0.5, seed: 3",
    "dare_ties": ", density: 0.5, seed: 3",
    "magnitude_prune": ", density: 0.5",
}


def digests(folder):
    """Name → sha256 of the weights of every format and dtype, by combination type."""
    folder = Path(folder)
    (folder / "quickstart").symlink_to(ROOT / "recipes" / "quickstart")
    ink = load_file(folder / "quickstart" / "ink.safetensors")
    other = {
        key: tensor if key.endswith(".alpha") else tensor * (torch.arange(tensor.numel()) % 7 - 2.5).view(tensor.shape)
        for key, tensor in ink.items()
    }
    save_file(other, folder / "other.safetensors")
    outputs = "".join(
        f"  - {{kind: adapter, format: {each}, dtype: {dtype}, name: {each}-{dtype}}}\n"
        for each in ("peft", "diffusers", "kohya")
        for dtype in ("float32", "float16", "bfloat16")
    )
    found = {}
    for kind, parameters in TYPES.items():
        (folder / "golden.yaml").write_text(
            "version: 1\nname: golden\nreport: brief\nbase: {source: quickstart/base}\nloras:\n"
            "  - {name: ink, source: quickstart/ink.safetensors, weight: 0.7}\n"
            "  - {name: other, source: other.safetensors, weight: -0.4}\n"
            f"merge: {{combination_type: {kind}, engine: factored{parameters}}}\noutputs:\n{outputs}",
            encoding="utf-8",
        )
        out = run(read_recipe(folder / "golden.yaml"), out=folder / "out", force=True, device="cpu").artifact
        for path in sorted(out.rglob("*.safetensors")):
            name = f"{kind}/{path.relative_to(out).as_posix()}"
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_every_format_and_dtype_gives_the_bytes_that_it_gave(tmp_path):
    assert digests(tmp_path) == json.loads(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        GOLDEN.write_text(json.dumps(digests(place), indent=0, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
