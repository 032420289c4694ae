"""One target under Atheris, until libFuzzer's options end it: `python tests/fuzz/one.py TARGET CORPUS [options]`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
warnings.simplefilter("ignore")

with atheris.instrument_imports(include=["loramerge", "yaml"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    for seed in TARGETS[name].seeds():  # what is imported and built the first time takes longer than any bytes may
        TARGETS[name](seed)
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()
