"""Previews without an artifact: every column, the same noise, the same bytes, and nothing drawn twice."""

from __future__ import annotations

import gc
import json
import shutil

import pytest
import tiny
import torch
from drawn import far, recipe_of, text

from loramerge import preview, read_recipe
from loramerge.errors import LoramergeError, MismatchError, SourceError, UsageError
from loramerge.previews.pipeline import DrawingPipeline

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]
COLUMNS = ("base", "lora-glow", "lora-ink", "merged", "stacked")
BY_BLOCK = {"unet": {"down": 0.3, "mid": 0.9, "up": {"block_1": 0.5}}, "text_encoder": 0.4}


class Watcher:
    """Keeps what it is told."""

    def __init__(self):
        self.tasks, self.done = {}, 0

    def start(self, task, total):
        self.tasks[task], self.done = total, 0

    def advance(self, steps=1):
        self.done += steps


@pytest.fixture
def read(tmp_path):
    return lambda *settings, **more: read_recipe(recipe_of(tmp_path, **more), overrides=settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The same pictures drawn one by one and two at once. Read-only by agreement: copy a folder to change it."""
    folder = tmp_path_factory.mktemp("finished")
    recipes = {size: read_recipe(recipe_of(folder), overrides=[f"preview.batch_size={size}"]) for size in (1, 2)}
    return {size: preview(recipe, out=folder / str(size)) for size, recipe in recipes.items()}


@pytest.fixture(scope="module", params=["sdxl", "sd15"])
def drawn(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    watcher = Watcher()
    path = recipe_of(folder, request.param, weights=(0.7, BY_BLOCK), few=request.param == "sdxl")
    done = preview(read_recipe(path), out=folder / "out", progress=watcher)
    return done, watcher


def test_every_row_and_column_is_drawn(drawn):
    done, watcher = drawn
    names = {f"0{row}-{column}.png" for row in range(1, 3) for column in COLUMNS}
    assert {path.name for path in done.folder.iterdir()} == names | {"preview.png", "preview.jpg"}
    assert {path.name for path in done.pictures} == names
    assert done.drawn == len(done.pictures) == watcher.tasks["preview"] == watcher.done == 10
    assert len({path.read_bytes() for path in done.pictures}) == 10


def test_cat_is_what_is_seen_stacked(drawn):
    folder = drawn[0].folder
    for row in ("01", "02"):
        assert far(folder / f"{row}-stacked.png", folder / f"{row}-merged.png") <= 1
        assert far(folder / f"{row}-stacked.png", folder / f"{row}-base.png") > 20


def test_a_picture_says_how_it_was_made(drawn):
    said = text(drawn[0].folder / "02-lora-glow.png")
    assert said["software"] == "loramerge"
    assert said["model"] == "glow, weights by block"
    assert json.loads(said["loras"]) == {"glow": BY_BLOCK}
    assert (said["prompt"], said["seed"], said["steps"], said["guidance_scale"]) == ("a bowl", "1", "2", "2.0")
    assert (said["width"], said["height"], said["batch_size"]) == (str(tiny.SIZE), str(tiny.SIZE), "1")
    assert "torch" in said["environment"]
    merged = text(drawn[0].folder / "02-merged.png")
    assert json.loads(merged["merge"])["combination_type"] == "cat"
    assert json.loads(merged["loras"]) == {"ink": 0.7, "glow": BY_BLOCK}
    sheet = text(drawn[0].folder / "preview.png")
    assert [each["model"] for each in json.loads(sheet["columns"])] == [
        "base", "ink × 0.7", "glow, weights by block", "stacked", "merged (cat)",
    ]  # fmt: skip
    assert json.loads(sheet["rows"])[1] == {"prompt": "a bowl", "seed": 1}


def test_loras_are_worn_as_set_adapters_of_diffusers_wears_the_recipes_own_files(tmp_path):
    """With attention alone, diffusers can take weights by block itself."""
    import foreign
    from diffusers import StableDiffusionXLPipeline

    pairs = [
        foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=100, seed=seed, modules=foreign.ATTENTION)
        for seed in range(2)
    ]
    files = [foreign.write_diffusers(pair, tmp_path / f"{number}.safetensors") for number, pair in enumerate(pairs)]
    recipe = read_recipe(
        recipe_of(tmp_path, weights=(0.7, BY_BLOCK), family="sdxl"),
        overrides=[f"loras.{number}.source={file}" for number, file in enumerate(files)],
    )
    done = preview(recipe, out=tmp_path / "out")
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny.folder("sdxl"))
    pipeline.set_progress_bar_config(disable=True)
    for name, file in zip("ab", files, strict=True):
        pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name=name)
    worn = {"lora-ink": (["a"], [0.7]), "lora-glow": (["b"], [BY_BLOCK]), "stacked": (["a", "b"], [0.7, BY_BLOCK])}
    for column, chosen in worn.items():
        pipeline.set_adapters(*chosen)
        picture = pipeline(
            "a bowl", num_inference_steps=2, guidance_scale=2.0, generator=torch.Generator().manual_seed(1)
        ).images[0]
        picture.save(tmp_path / "x.png")
        assert far(tmp_path / "x.png", done.folder / f"02-{column}.png") <= 1
        assert far(tmp_path / "x.png", done.folder / "02-base.png") > 5


def test_one_lora_alone_is_not_stacked(read, tmp_path):
    done = preview(read(weights=(0.7,), preview={"prompts": ["x"], "seeds": [3]}), out=tmp_path / "out")
    assert [path.name for path in done.pictures] == ["01-base.png", "01-lora-ink.png", "01-merged.png"]


def test_the_same_recipe_gives_the_same_bytes(read, finished, tmp_path):
    folders = [finished[2].folder, preview(read("preview.batch_size=2"), out=tmp_path / "again").folder]
    names = sorted(path.name for path in folders[0].iterdir())
    assert len(names) == 12
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_batch_draws_what_its_pictures_draw_alone(finished):
    one, two = finished[1], finished[2]
    for alone, together in zip(one.pictures, two.pictures, strict=True):
        assert far(alone, together) <= 1
    assert text(two.pictures[0])["batch_size"] == "2"


def test_the_base_and_each_lora_are_loaded_once(read, tmp_path, monkeypatch):
    from diffusers import StableDiffusionPipeline

    bases, loras = [], []
    load, load_lora = StableDiffusionPipeline.from_pretrained, StableDiffusionPipeline.load_lora_weights
    monkeypatch.setattr(
        StableDiffusionPipeline,
        "from_pretrained",
        lambda *args, **options: bases.append(args[0]) or load(*args, **options),
    )
    monkeypatch.setattr(
        StableDiffusionPipeline,
        "load_lora_weights",
        lambda self, *args, **options: (
            loras.append([*self.get_list_adapters().values()]) or load_lora(self, *args, **options)
        ),
    )
    preview(read(preview={"prompts": ["x"], "seeds": [0]}), out=tmp_path / "out")
    assert bases == [tiny.folder("sd15")]
    # The second joins the first, and the merge comes alone: it needs as much memory as both.
    assert [each and sorted(each[0]) for each in loras] == [[], ["lora_0"], []]


def test_what_is_finished_is_not_drawn_again(read, finished, tmp_path):
    recipe, out = read(), tmp_path / "out"
    shutil.copytree(finished[1].folder, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / ".01-base.png.partial").touch()  # of a command that was killed
    assert preview(recipe, out=out).drawn == 0
    assert {path.name for path in out.iterdir()} == before.keys()
    (out / "01-base.png").unlink()
    cut = out / finished[1].pictures[1].name
    cut.write_bytes(cut.read_bytes()[:-200])
    (out / "01-lora-glow.png").unlink()  # it was drawn beside a LoRA that was switched off
    assert preview(recipe, out=out).drawn == 3
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert preview(read("loras.glow.weight=0.5"), out=out).drawn == 6  # glow, stacked, merged
    assert preview(read("loras.glow.weight=0.5", "merge.combination_type=linear"), out=out).drawn == 2
    assert preview(read("preview.negative_prompt=x"), out=out).drawn == 10


def test_a_batch_is_drawn_whole(read, finished, tmp_path):
    recipe, out = read("preview.batch_size=2"), tmp_path / "out"
    shutil.copytree(finished[2].folder, out)
    (out / "02-stacked.png").unlink()
    assert preview(recipe, out=out).drawn == 2


def test_an_interrupted_preview_keeps_what_is_finished(read, tmp_path, monkeypatch):
    draw, calls = DrawingPipeline.draw, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return draw(self, *args)

    monkeypatch.setattr(DrawingPipeline, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"5 of 10 pictures are in \S+/out: the same command draws the others"):
        preview(read(), out=tmp_path / "out")
    monkeypatch.undo()
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert preview(read(), out=tmp_path / "out").drawn == 5


def test_tiles_are_said(read, tmp_path):
    done = preview(read("preview.memory=tiled", preview={"seeds": [0]}, weights=(1.0,)), out=tmp_path / "out")
    assert text(done.pictures[0])["vae_tiling"] == "true"


def test_a_base_for_other_tasks_draws_from_text(read, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny.folder("sd15"), base)
    index = json.loads((base / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionImg2ImgPipeline"
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]  # named, but not fetched
    (base / "model_index.json").write_text(json.dumps(index))
    preview_ = {"prompts": ["熊"], "seeds": [0], "steps": 1, "width": 48, "height": 16}
    done = preview(read(family="sd15", base=base, preview=preview_, weights=(1.0,)), out=tmp_path / "out")
    assert text(done.pictures[0])["prompt"] == "熊"


def test_what_diffusers_leaves_out_is_said(read, tmp_path):
    import foreign

    pairs = foreign.random_lora(tiny.shared("sdxl"), rank=2, alpha=2, seed=0, modules=r"text_projection$|to_q$")
    assert "text_projection" in pairs["text_encoder_2"]
    file = foreign.write_diffusers(pairs, tmp_path / "x.safetensors")
    done = preview(
        read(f"loras.0.source={file}", family="sdxl", weights=(1.0,), preview={"seeds": [0]}),
        out=tmp_path / "out",
    )
    assert any(
        "pictures of ink lack 1 module that diffusers' loader does not take: text_encoder_2.text_projection" in each
        for each in done.warnings
    )


@pytest.mark.parametrize("key", ["prompts", "negative_prompt"])
def test_a_prompt_that_would_be_cut_off_is_refused_before_anything_is_drawn(read, key, tmp_path):
    long = "bear " * 30
    with pytest.raises(MismatchError, match=r"has 122 tokens; the base's tokenizer takes 77"):
        preview(read(preview={key: [long] if key == "prompts" else long}), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_size_that_the_vae_can_not_make_is_refused(read, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny.folder("sd15"), base)
    config = json.loads((base / "vae/config.json").read_text())
    config["block_out_channels"] = [8] * 5  # a factor of 16
    (base / "vae/config.json").write_text(json.dumps(config))
    with pytest.raises(MismatchError, match=r"pictures of 40×64 pixels .* the base makes multiples of 16") as caught:
        preview(read("preview.width=40", "preview.height=64", base=base), out=tmp_path / "out")
    assert caught.value.hint.endswith("such as 32")


def test_a_recipe_without_preview_says_what_to_add(read, tmp_path):
    with pytest.raises(UsageError, match=r"--set 'preview.prompts=\[a bowl\]'"):
        preview(read("preview=null"), out=tmp_path / "out")


def test_a_merge_that_can_not_be_is_refused_before_anything_is_drawn(read, tmp_path):
    with pytest.raises(MismatchError, match="every LoRA weighs 0"):
        preview(read("loras.0.weight=0", "loras.1.weight=0"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_others_put_there_is_not_replaced(read, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "02-base.png").write_text("mine")
    with pytest.raises(LoramergeError, match=r"files that loramerge did not draw: 02-base.png"):
        preview(read(), out=out)
    assert sorted(path.name for path in out.iterdir()) == ["02-base.png", "notes.txt"]


def test_an_artifact_and_a_source_are_no_folders_for_pictures(read, tmp_path):
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/provenance.json").write_text("{}")
    with pytest.raises(LoramergeError, match="is an artifact"):
        preview(read(), out=tmp_path / "artifact")
    with pytest.raises(LoramergeError, match="which the recipe reads"):
        preview(read(), out=tiny.folder("sd15") / "unet")
    with pytest.raises(LoramergeError, match="is a file"):
        preview(read(), out=tmp_path / "small.yaml")


def test_a_base_that_does_not_load_is_named(read, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny.folder("sd15"), base)
    (base / "scheduler/scheduler_config.json").write_text('{"beta_schedule": "none that there is"}')
    with pytest.raises(SourceError, match="base can't be loaded as a pipeline"):
        preview(read(base=base), out=tmp_path / "out")
    (base / "scheduler/scheduler_config.json").write_text("{")
    with pytest.raises(SourceError, match=r"base/scheduler/scheduler_config.json should be a JSON object"):
        preview(read(base=base), out=tmp_path / "other")


def test_the_libraries_are_left_as_talkative_as_they_were(read, tmp_path, capfd):
    import diffusers
    import transformers

    before = (diffusers.logging.get_verbosity(), transformers.logging.get_verbosity())
    recipe = read(preview={"prompts": ["x"], "seeds": [0], "steps": 1})
    capfd.readouterr()  # what libraries say that are imported for the first time
    preview(recipe, out=tmp_path / "out")
    assert (diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()) == before
    assert capfd.readouterr() == ("", "")
    gc.collect()
