"""What a figure was measured on, and how busy that was with something else."""

from __future__ import annotations

import os
import platform
import re
import resource
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("loramerge", "torch", "peft", "diffusers", "transformers", "safetensors", "numpy")


def machine(device: str) -> dict[str, Any]:
    """Processor, cores, memory and load; the GPU where one is asked for."""
    found = {
        "processor": _field("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
    }
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def versions() -> Mapping[str, str]:
    """Of Python and of the libraries that take part."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


class Others:
    """The share of all processors that other programs take from now on; None where the system does not say."""

    def __init__(self) -> None:
        self._before = _processors()

    def share(self) -> float | None:
        """Between 0 and 1."""
        after = _processors()
        if self._before is None or after is None:
            return None
        every, busy, own = (now - before for now, before in zip(after, self._before, strict=True))
        return max(0.0, (busy - own) / every) if every else 0.0


def _processors() -> tuple[float, float, float] | None:
    """Seconds of all processors, those that were busy, and those of this process and its finished children."""
    line = _field("/proc/stat", r"cpu\s+(.+)")
    if line is None:
        return None
    user, nice, system, idle, waiting, *rest = (int(each) / os.sysconf("SC_CLK_TCK") for each in line.split()[:8])
    busy = user + nice + system + sum(rest)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return busy + idle + waiting, busy, sum(each.ru_utime + each.ru_stime for each in used)


def _field(file: str, pattern: str) -> str | None:
    path = Path(file)
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found[1].strip() if found else None
