"""Real LoRAs, configs of real bases, and names of other families, beside a checkout; tests without them skip."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared"


def lora(name: str) -> Path:
    return _there(FOLDER / "loras" / name)


def model(name: str) -> Path:
    return _there(FOLDER / "models" / name)


def family(table: str) -> Path:
    return _there(FOLDER / "families" / table)


def _there(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.relative_to(FOLDER.parent)} is not beside this checkout")
    return path
