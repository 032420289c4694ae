"""What is to be measured."""

from __future__ import annotations

import os
from dataclasses import dataclass

from models import PARAMETERS


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        models: Names of `models.MODELS`.
        ranks: Of the LoRAs.
        loras: Numbers of LoRAs, two to five.
        types: Combination types.
        types_of_files: Those that are measured from files to file; what decomposes dense deltas would take too long.
        runs: How often both sides are measured in turn; less often where it takes long.
        device: Where merges are computed.
        threads: Of both sides.
        profile: Print where our side spends its time.
        cold: How long commands take is measured once, and nothing runs before it.
        sd_scripts: A checkout of kohya-ss/sd-scripts whose own script is measured as well; "" for none.
    """

    models: tuple[str, ...] = ("sd15", "sdxl")
    ranks: tuple[int, ...] = (16, 32, 64, 128)
    loras: tuple[int, ...] = (2, 5)
    types: tuple[str, ...] = tuple(PARAMETERS)
    types_of_files: tuple[str, ...] = tuple(name for name in PARAMETERS if not name.endswith("_svd"))
    runs: int = 2
    device: str = "cpu"
    threads: int = os.cpu_count() or 1
    profile: bool = False
    cold: bool = False
    sd_scripts: str = ""


QUICK = Plan(models=("small",), ranks=(16,), loras=(2,), types_of_files=("cat", "svd"), runs=1)
