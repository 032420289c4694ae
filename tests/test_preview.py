"""Previews: both pipelines, the same noise, the same bytes, and no prompt that is cut off in silence."""

from __future__ import annotations

import gc
import shutil
import weakref

import foreign
import pytest
import tiny
from PIL import Image

from loramerge.errors import MismatchError, SourceError
from loramerge.preview import render
from loramerge.recipe import Preview

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TWO = Preview(prompts=("a bowl", "a bear"), seeds=(0, 1), steps=2, guidance_scale=2.0)


class Watcher:
    """Keeps what it is told."""

    def __init__(self):
        self.total = self.done = 0

    def start(self, _, total):
        self.total = total

    def advance(self, steps=1):
        self.done += steps


def opened(path):
    with Image.open(path) as picture:
        picture.load()
    return picture


@pytest.fixture(scope="module")
def base():
    return tiny.folder("sdxl")


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merged")
    pipeline = tiny.sdxl()
    pairs = foreign.random_lora(pipeline, rank=4, alpha=400, seed=1)
    file = foreign.write_diffusers(pairs, folder / "x.safetensors")
    pipeline.load_lora_weights(folder, weight_name=file.name, adapter_name="x")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return tiny.save(pipeline, folder / "pipeline")


def test_every_prompt_and_seed_is_drawn_by_both(base, merged, tmp_path):
    watcher = Watcher()
    names = render(base, merged, TWO, tmp_path, "cpu", watcher)
    assert names == (
        *("01-base.png", "01-merged.png", "02-base.png", "02-merged.png"),
        *("03-base.png", "03-merged.png", "04-base.png", "04-merged.png"),
        "preview.png",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == list(names)
    assert watcher.total == watcher.done == 8
    bytes_of = {name: opened(tmp_path / name).tobytes() for name in names}
    assert len(set(bytes_of.values())) == len(names)
    sheet = opened(tmp_path / "preview.png")
    assert sheet.width > 2 * tiny.SIZE
    assert sheet.height > 4 * tiny.SIZE


def test_a_picture_says_how_it_was_made(base, tmp_path):
    preview = Preview(prompts=("a bowl",), negative_prompt="größer", seeds=(7,), steps=2, guidance_scale=2.5)
    render(base, None, preview, tmp_path, "cpu")
    assert opened(tmp_path / "01-base.png").text == {
        "model": "base",
        "prompt": "a bowl",
        "negative_prompt": "größer",
        "seed": "7",
        "steps": "2",
        "guidance_scale": "2.5",
    }


def test_both_start_from_the_same_noise_and_are_the_same_without_a_merge(base, tmp_path):
    render(base, base, TWO, tmp_path, "cpu")
    for number in ("01", "02", "03", "04"):
        one, other = (opened(tmp_path / f"{number}-{column}.png") for column in ("base", "merged"))
        assert one.tobytes() == other.tobytes()


def test_the_same_previews_are_the_same_bytes(base, merged, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        names = render(base, merged, TWO, folder, "cpu")
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_size_and_family_are_free(tmp_path):
    preview = Preview(prompts=("熊",), steps=1, width=48, height=16)
    assert render(tiny.folder("sd15"), None, preview, tmp_path, "cpu") == ("01-base.png", "preview.png")
    assert opened(tmp_path / "01-base.png").size == (48, 16)


def test_a_safety_checker_that_was_not_fetched_is_done_without(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny.folder("sd15"), base)
    index = base / "model_index.json"
    checker = '"safety_checker": [\n    "stable_diffusion",\n    "StableDiffusionSafetyChecker"\n  ]'
    before = index.read_text()
    index.write_text(before.replace('"safety_checker": [\n    null,\n    null\n  ]', checker))
    assert index.read_text() != before
    preview = Preview(prompts=("a bowl",), steps=1)
    assert "01-base.png" in render(base, None, preview, tmp_path, "cpu")


@pytest.mark.parametrize("key", ["prompts", "negative_prompt"])
def test_a_prompt_that_would_be_cut_off_is_refused_before_anything_is_drawn(base, key, tmp_path):
    long = "bear " * 30
    preview = Preview(**({"prompts": ("a bowl",)} | {key: (long,) if key == "prompts" else long}), steps=1)
    with pytest.raises(MismatchError, match=r"has 122 tokens; the base's tokenizer takes 77"):
        render(base, None, preview, tmp_path, "cpu")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_pipeline_is_named(tmp_path):
    with pytest.raises(SourceError, match="can't be loaded as a pipeline"):
        render(tmp_path, None, TWO, tmp_path, "cpu")


def test_the_libraries_are_left_as_talkative_as_they_were(base, tmp_path, capfd):
    import diffusers
    import transformers

    before = (diffusers.logging.get_verbosity(), transformers.logging.get_verbosity())
    render(base, None, Preview(prompts=("a bowl",), steps=1), tmp_path, "cpu")
    assert (diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()) == before
    assert capfd.readouterr() == ("", "")


def test_one_pipeline_is_in_memory_at_a_time(base, merged, tmp_path, monkeypatch):
    from diffusers import DiffusionPipeline

    alive, most = weakref.WeakSet(), []
    load = DiffusionPipeline.from_pretrained

    def counted(*args, **kwargs):
        pipeline = load(*args, **kwargs)
        alive.add(pipeline.unet)
        most.append(len(alive))
        return pipeline

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", counted)
    render(base, merged, Preview(prompts=("a bowl",), steps=1), tmp_path, "cpu")
    gc.collect()
    assert most == [1, 1]
