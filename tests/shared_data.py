"""Real LoRAs, and the published configs of real bases, that lie beside a checkout; tests without them skip."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared"


def lora(name: str) -> Path:
    return _there(FOLDER / "loras" / name)


def model(name: str) -> Path:
    return _there(FOLDER / "models" / name)


def _there(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.relative_to(FOLDER.parent)} is not beside this checkout")
    return path
