"""What is kept of a model is what was built; what is kept no longer, or wrongly, is built again."""

from __future__ import annotations

import json
from importlib import metadata
from types import SimpleNamespace

import pytest
import tiny

from loramerge.bases import shape_cache
from loramerge.bases.architecture import Architecture
from loramerge.bases.base import read_base
from loramerge.bases.shape_cache import Shapes, shapes_of

CONFIG = {"width": 8, "blocks": ["b", "a"]}
SHAPES = Shapes(layers={"b": (3, 2), "a": (4, 3, 1, 1)}, parameters={"b.weight": (3, 2), "a.bias": (4,), "zero": ()})


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where entries are, and a builder that counts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = []

    def ask(config=CONFIG, architecture="Model"):
        return shapes_of(architecture, config, lambda: built.append(config) or SHAPES)

    return SimpleNamespace(folder=tmp_path / "loramerge" / "shapes", built=built, ask=ask)


def test_a_model_is_built_once(kept):
    assert kept.ask() == kept.ask() == SHAPES
    assert len(kept.built) == 1


def test_the_order_is_kept(kept):
    kept.ask()
    found = kept.ask()
    assert list(found.layers) == list(SHAPES.layers)
    assert list(found.parameters) == list(SHAPES.parameters)


def test_the_order_of_a_configs_keys_means_nothing(kept):
    kept.ask()
    kept.ask(dict(reversed(CONFIG.items())))
    assert len(kept.built) == 1


def test_another_model_is_another_entry(kept):
    kept.ask()
    kept.ask(CONFIG | {"width": 9})
    kept.ask(CONFIG | {"blocks": ["a", "b"]})
    kept.ask(architecture="OtherModel")
    assert len(kept.built) == len(list(kept.folder.iterdir())) == 4


@pytest.fixture
def asked_again(monkeypatch):
    """What is installed does not change while a program runs, except here."""
    monkeypatch.setattr(shape_cache, "_versions", shape_cache._versions.__wrapped__)


@pytest.mark.usefixtures("asked_again")
@pytest.mark.parametrize("library", ["loramerge", "diffusers", "transformers"])
def test_another_version_is_another_entry(kept, monkeypatch, library):
    kept.ask()
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == library else installed(name))
    kept.ask()
    assert len(kept.built) == 2


@pytest.mark.usefixtures("asked_again")
def test_of_a_development_version_nothing_is_kept(kept, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda _: "1.0.dev0")
    kept.ask()
    kept.ask()
    assert len(kept.built) == 2
    assert not kept.folder.exists()


def swapped(entry):
    """Valid JSON of the right form, with the layers in another order."""
    value = json.loads(entry)
    value["shapes"]["layers"] = dict(reversed(value["shapes"]["layers"].items()))
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda entry: entry[:-1],
        lambda entry: entry.replace(b"[3, 2]", b"[3, 3]"),
        swapped,
        lambda _: b"[]",
        lambda _: b"{}",
        lambda _: b"null",
        lambda _: b"\xff\x00",
        lambda _: b"[" * 100_000,
    ],
    ids=["empty", "cut", "a number", "the order", "a list", "no keys", "null", "binary", "deep"],
)
def test_a_damaged_entry_is_made_again(kept, damage):
    kept.ask()
    (entry,) = kept.folder.iterdir()
    content = entry.read_bytes()
    entry.write_bytes(damage(content))
    assert kept.ask() == SHAPES
    assert len(kept.built) == 2
    assert entry.read_bytes() == content
    assert list(kept.folder.iterdir()) == [entry]


def test_a_cache_that_can_not_be_written(kept):
    kept.folder.parent.write_text("a file where the folder should be")
    assert kept.ask() == kept.ask() == SHAPES
    assert len(kept.built) == 2


def test_an_entry_that_can_not_be_read(kept):
    kept.ask()
    (entry,) = kept.folder.iterdir()
    entry.unlink()
    entry.mkdir()
    assert kept.ask() == SHAPES


def test_no_home(kept, monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("loramerge.bases.shape_cache.cache_folder", nobody)
    assert kept.ask() == SHAPES


def test_what_can_not_be_built_is_not_kept(kept):
    def fails():
        raise ValueError("no such block")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such block"):
            shapes_of("Model", CONFIG, fails)
    assert not kept.folder.exists()


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_what_is_kept_is_what_was_built(kept, family, monkeypatch):
    built = read_base(family, tiny.folder(family))
    assert all(built.components.values())
    assert kept.folder.is_dir()
    monkeypatch.setattr(Architecture, "_built", None)
    again = read_base(family, tiny.folder(family))
    assert again == built
    for name, component in built.components.items():
        assert list(again.components[name].modules.items()) == list(component.modules.items())
        assert list(again.components[name].live.items()) == list(component.live.items())
        assert list(again.components[name].parameters.items()) == list(component.parameters.items())
