import json
from types import SimpleNamespace

import pytest
from command_line import MODELS, write_recipe


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder: an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def models():
    """The base and the LoRAs of the quickstart."""
    return SimpleNamespace(base=MODELS / "base", ink=MODELS / "ink.safetensors", glow=MODELS / "glow.safetensors")


@pytest.fixture
def recipe(here, models):
    """A small recipe of the quickstart's LoRAs, and what to change in it."""

    def write(**more):
        loras = {"ink": models.ink, "glow": {"source": str(models.glow), "weight": 0.8}}
        return write_recipe(here, base=models.base, **({"loras": loras} | more))

    return write


@pytest.fixture
def parsed():
    """The one JSON document that a command printed."""
    return lambda result: json.loads(result.stdout)
