"""Recipes from files to files: every input form, every combination type, every output format."""

import json
import shutil
from functools import cache

import foreign
import pytest
import reference
import tiny
import torch
import truth
from canonical import base_of, deltas_of, files_of, read
from safetensors.torch import load_file

from loramerge import load_base, read_recipe, run
from loramerge.errors import LoramergeError, MismatchError, SourceError
from loramerge.progress import Silent
from loramerge.stages import run as run_stage
from loramerge.stages.write import write as write_artifact

pytestmark = pytest.mark.slow

FORMATS = ("peft", "diffusers", "kohya")
OUTPUTS = "[{kind: adapter, format: peft}, {kind: adapter, format: diffusers}, {kind: adapter, format: kohya}]"
WEIGHTS = (0.7, -0.4)
WHOLE = {"dare_linear", "dare_linear_svd"}  # compared on every layer; of the others, a few of every kind
TYPES = {
    "cat": "",
    "svd": "svd_rank: 5",
    "linear": "",
    "ties": "density: 0.5",
    "ties_svd": "density: 0.5",
    "dare_linear": "density: 0.5, seed: 7",
    "dare_ties": "density: 0.5, seed: 7, majority_sign_method: frequency",
    "dare_linear_svd": "density: 0.5, seed: 7",
    "dare_ties_svd": "density: 0.5, seed: 7",
    "magnitude_prune": "density: 0.5",
    "magnitude_prune_svd": "density: 0.5, svd_rank: 3",
}


def write_recipe(folder, family, sources, merge, *, outputs=OUTPUTS, extra="", weights=WEIGHTS):
    loras = "".join(
        f"\n  - {{name: l{number}, source: {source}, weight: {weight}}}"
        for number, (source, weight) in enumerate(zip(sources, weights, strict=False))
    )
    path = folder / "recipe.yaml"
    path.write_text(
        f"version: 1\nname: two\nbase: {{source: {tiny.folder(family)}}}\nloras:{loras}\n"
        f"merge: {merge}\noutputs: {outputs}\nreport: brief\n{extra}"
    )
    return path


def pairs_of(family, seed, **options):
    settings = {"rank": 4, "alpha": 2.0 + seed, "conv_rank": 3, "conv_alpha": 1.5, "few": True} | options
    return foreign.random_lora(tiny.shared(family), seed=seed, **settings)


@cache
def two_loras(*, few):
    return [pairs_of("sdxl", seed, few=few) for seed in range(2)]


def write_form(form, pairs, path, family):
    if form == "kohya-sgm":
        return foreign.write_kohya(pairs, path, unet_config=tiny.shared(family).unet.config)
    if form == "kohya":
        return foreign.write_kohya(pairs, path, alpha="some")
    if form == "peft-folder":
        for component, modules in pairs.items():
            foreign.write_peft(modules, path.with_suffix("") / component, rslora=True)
        return path.with_suffix("")
    return foreign.write_diffusers(pairs, path, form=form)


@pytest.mark.parametrize("form", ["kohya-sgm", "kohya", "peft-folder", *foreign.FORMS])
def test_every_input_form_reaches_every_output_format(form, tmp_path):
    options = {"modules": foreign.ATTENTION} if form in ("to_k_lora", "processor", "bare_processor") else {}
    options |= {"components": ("unet",)} if form.startswith("bare_") else {}
    pairs = [pairs_of("sdxl", seed, rank=4 + 2 * seed, few=False, **options) for seed in range(2)]
    sources = [write_form(form, lora, tmp_path / f"l{number}.safetensors", "sdxl") for number, lora in enumerate(pairs)]
    merge = "{combination_type: cat, engine: factored}"
    result = run(read_recipe(write_recipe(tmp_path, "sdxl", sources, merge)), out=tmp_path / "out")
    want = truth.weighted_sum([(foreign.deltas(lora), weight) for lora, weight in zip(pairs, WEIGHTS, strict=True)])
    assert all(error <= 1e-6 for error in result.fidelity.values())
    for output in FORMATS:
        assert truth.relative_error(deltas_of(read(result.artifact / output, base_of("sdxl"))), want) <= 1e-6


@pytest.mark.parametrize("combination_type", TYPES)
def test_every_type_reaches_every_output_format_as_peft_merges_it(combination_type, tmp_path):
    pipeline, pairs = tiny.shared("sdxl"), two_loras(few=combination_type not in WHOLE)
    sources = [
        foreign.write_kohya(pairs[0], tmp_path / "a.safetensors", unet_config=pipeline.unet.config),
        foreign.write_diffusers(pairs[1], tmp_path / "b.safetensors", adapter_metadata=True),
    ]
    merge = f"{{combination_type: {combination_type}, {TYPES[combination_type]}}}"
    recipe = read_recipe(write_recipe(tmp_path, "sdxl", sources, merge))
    artifact = run(recipe, out=tmp_path / "out").artifact
    read_back = {output: deltas_of(read(artifact / output, base_of("sdxl"))) for output in FORMATS}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        merged = reference.peft_merge(
            getattr(pipeline, component),
            [lora[component] for lora in pairs],
            WEIGHTS,
            seed=getattr(recipe.merge, "seed", 0),
            **recipe.merge.peft_arguments(),
        )
        want = {
            name: scale * foreign.deltas({"": {"": (down, up, down.shape[0])}})[""][""]
            for name, (down, up, scale) in merged.items()
        }
        tolerance = 1e-5 if recipe.merge.decomposes else 1e-6  # PEFT's own decomposition is in float32
        for deltas in read_back.values():
            assert truth.relative_error(deltas[component], want) <= tolerance


def test_adapter_outputs_need_no_weights_of_the_base(tmp_path):
    bare = tmp_path / "bare"
    for name in files_of(tiny.folder("sd15")):
        if name.endswith("config.json") or name == "model_index.json":
            (bare / name).parent.mkdir(parents=True, exist_ok=True)
            (bare / name).write_bytes((tiny.folder("sd15") / name).read_bytes())
    assert load_base(str(bare)).family.name == "sd15"
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}")
    result = run(read_recipe(path, overrides=[f"base.source={bare}"]), out=tmp_path / "out")
    assert files_of(result.artifact / "kohya") == ["two.safetensors"]


def test_the_report_says_what_went_in_and_what_came_out(tmp_path):
    pairs = [pairs_of("sd15", seed) for seed in range(2)]
    sources = [foreign.write_diffusers(lora, tmp_path / f"{n}.safetensors") for n, lora in enumerate(pairs)]
    result = run(read_recipe(write_recipe(tmp_path, "sd15", sources, "{combination_type: linear}")), out=tmp_path / "o")
    report = json.loads((result.artifact / "report.json").read_text())
    assert report["recipe"]["name"] == "two"
    assert [lora["weight"] for lora in report["loras"]] == list(WEIGHTS)
    assert set(report["loras"][0]["ranks"]) == {"3", "4"}
    assert sum(report["loras"][0]["ranks"].values()) == sum(map(len, pairs[0].values()))
    assert report["fidelity"]["unet"]["error"] > 0.5
    assert any("`cat` is exact" in note for note in report["notes"])
    assert str(tmp_path) not in json.dumps(report["environment"])


def test_inputs_come_out_as_peft_adapters(tmp_path):
    pairs = [pairs_of("sdxl", seed) for seed in range(2)]
    sources = [foreign.write_kohya(lora, tmp_path / f"{n}.safetensors") for n, lora in enumerate(pairs)]
    path = write_recipe(tmp_path, "sdxl", sources, "{combination_type: cat}", outputs="[{kind: inputs}]")
    result = run(read_recipe(path), out=tmp_path / "out")
    for number, lora in enumerate(pairs):
        folder = result.artifact / "inputs" / f"l{number}"
        assert (folder / "adapter_config.json").is_file()
        assert truth.relative_error(deltas_of(read(folder, base_of("sdxl"))), foreign.deltas(lora)) <= 1e-6


def test_trigger_words_are_carried_over(tmp_path):
    from safetensors import safe_open

    sources = [
        foreign.write_kohya(
            pairs_of("sd15", seed),
            tmp_path / f"{phrase}.safetensors",
            text_prefixes=("lora_te_",),
            metadata={
                "modelspec.trigger_phrase": phrase,
                "ss_tag_frequency": json.dumps({"d": {phrase: 2, "both": 1}}),
            },
        )
        for seed, phrase in enumerate(("ink", "glow"))
    ]
    result = run(read_recipe(write_recipe(tmp_path, "sd15", sources, "{combination_type: cat}")), out=tmp_path / "out")
    with safe_open(result.artifact / "kohya" / "two.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.trigger_phrase"] == "ink, glow"
    assert json.loads(metadata["ss_tag_frequency"]) == {"d": {"both": 2, "glow": 2, "ink": 2}}


def test_a_module_that_the_base_lacks_is_an_error_unless_the_recipe_skips_it(tmp_path):
    pairs = pairs_of("sd15", 0)
    pairs["unet"]["down_blocks.9.attentions.0.proj_in"] = next(iter(pairs["unet"].values()))
    source = foreign.write_diffusers(pairs, tmp_path / "a.safetensors")
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}")
    with pytest.raises(MismatchError, match=r"1 of \d+ modules do not fit"):
        run(read_recipe(path), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = run(read_recipe(path, overrides=["loras.0.unmatched=skip"]), out=tmp_path / "out")
    assert any("1 of" in warning and "skipped" in warning for warning in result.warnings)


def test_publishing_puts_one_output_at_the_root_and_several_by_name(tmp_path):
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    extra = (
        "publish:\n"
        "  - {kind: folder, path: comfy, outputs: [kohya]}\n"
        "  - {kind: folder, path: some, outputs: [kohya, diffusers]}\n"
        "  - {kind: folder, path: all}\n"
    )
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}", extra=extra)
    first = run(read_recipe(path), out=tmp_path / "out")
    assert [receipt.changed for receipt in first.receipts] == [True, True, True]
    visible = {
        folder: [name for name in files_of(tmp_path / folder) if not name.startswith(".")]
        for folder in ("comfy", "some", "all")
    }
    assert visible["comfy"] == ["two.safetensors"]
    assert visible["some"] == ["diffusers/pytorch_lora_weights.safetensors", "kohya/two.safetensors"]
    assert {"recipe.yaml", "report.json", "kohya/two.safetensors"} <= set(visible["all"])
    again = run(read_recipe(path), out=tmp_path / "out")
    assert [receipt.changed for receipt in again.receipts] == [False, False, False]


def test_an_out_that_is_a_link_leads_to_its_folder(tmp_path):
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run(read_recipe(path), out=tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "kohya" / "two.safetensors").is_file()


def test_a_variant_is_used_and_one_that_is_not_there_is_an_error(tmp_path):
    base = tmp_path / "base"
    tiny.save(tiny.sd15(), base)
    tiny.save(tiny.sd15().to(torch.float16), base, variant="fp16")
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}", outputs="[{kind: pipeline}]")
    for variant, dtype in ((None, torch.float32), ("fp16", torch.float16)):
        overrides = [f"base.source={base}"] + ([f"base.variant={variant}"] if variant else [])
        artifact = run(read_recipe(path, overrides=overrides), out=tmp_path / "out").artifact
        weights = load_file(artifact / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {dtype}
    with pytest.raises(SourceError, match="no weights of the variant bf16") as error:
        run(read_recipe(path, overrides=[f"base.source={base}", "base.variant=bf16"]), out=tmp_path / "out")
    assert "fp16" in error.value.hint


def test_from_the_hub_no_weight_of_the_base_is_requested(hub, tmp_path):
    folder = tiny.folder("sd15")
    card = {"README.md": b"---\nlicense: apache-2.0\n---\n"}
    files = {name: (folder / name).read_bytes() for name in files_of(folder)}
    hub.repository("tester/base", files | card)
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    hub.repository("tester/lora", {"pytorch_lora_weights.safetensors": source.read_bytes(), **card})
    path = write_recipe(tmp_path, "sd15", ["hf://tester/lora"], "{combination_type: cat}")
    recipe = read_recipe(path, overrides=["base.source=hf://tester/base"])
    result = run(recipe, out=tmp_path / "out")
    want = truth.weighted_sum([(foreign.deltas(pairs_of("sd15", 0)), WEIGHTS[0])])
    assert truth.relative_error(deltas_of(result.merged), want) <= 1e-6
    asked = {call.path for call in hub.log if "/resolve/" in call.path}
    assert {name.rpartition("/")[2] for name in asked} == {
        "model_index.json",
        "config.json",
        "scheduler_config.json",
        "pytorch_lora_weights.safetensors",
    }
    assert len(result.report["base"]["revision"]) == 40
    assert result.report["license"] == "apache-2.0"
    lock = (result.artifact / "recipe.lock.yaml").read_text()
    assert f"commit: {result.report['base']['revision']}" in lock


def test_an_out_that_holds_an_input_is_refused_even_with_force(tmp_path):
    (tmp_path / "loras").mkdir()
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "loras" / "a.safetensors")
    (tmp_path / "recipes").mkdir()
    path = write_recipe(tmp_path / "recipes", "sd15", [source], "{combination_type: cat}")
    with pytest.raises(LoramergeError, match="an artifact replaces its folder"):
        run(read_recipe(path), out=tmp_path / "loras", force=True)
    assert source.is_file()


@pytest.mark.parametrize("force", [False, True])
def test_what_others_put_into_the_artifact_while_it_is_made_is_kept_without_force(tmp_path, monkeypatch, force):
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    recipe = read_recipe(write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}"))
    out = run(recipe, out=tmp_path / "out").artifact
    before = {name: (out / name).read_bytes() for name in files_of(out)}

    def write(*arguments, **options):
        report = write_artifact(*arguments, **options)
        (out / "precious.txt").write_text("notes")
        return report

    monkeypatch.setattr(run_stage, "write", write)
    if force:
        run(recipe, out=out, force=True)
        assert not (out / "precious.txt").exists()
        return
    with pytest.raises(LoramergeError, match=r"files that are not the artifact's: precious.txt") as error:
        run(recipe, out=out)
    assert "partial" not in error.value.message
    assert {name: (out / name).read_bytes() for name in files_of(out)} == {**before, "precious.txt": b"notes"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "out", "recipe.yaml"]


@pytest.mark.parametrize("task", ["merge", "write"])
@pytest.mark.parametrize("changed", ["LoRA", "base"])
def test_an_input_that_is_changed_while_it_is_merged_is_an_error(task, changed, tmp_path):
    base = shutil.copytree(tiny.folder("sd15"), tmp_path / "base")
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}", outputs="[{kind: pipeline}]")
    path.write_text(path.read_text().replace(str(tiny.folder("sd15")), str(base)))
    victim = source if changed == "LoRA" else base / "unet" / "diffusion_pytorch_model.safetensors"

    class Changes(Silent):
        def start(self, begun, total):
            del total
            if begun == task:
                victim.write_bytes(victim.read_bytes())

    with pytest.raises(SourceError, match=f"{victim.name} was changed while it was read"):
        run(read_recipe(path), out=tmp_path / "out", progress=Changes())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.safetensors", "base", "recipe.yaml"]


def test_what_float16_loses_is_measured_and_said(tmp_path):
    pairs = pairs_of("sd15", 0, components=("unet",), modules=r"attn1")
    tiny_up = {"unet": {name: (down, up * 1e-6, alpha) for name, (down, up, alpha) in pairs["unet"].items()}}
    source = foreign.write_kohya(tiny_up, tmp_path / "a.safetensors")
    outputs = "[{kind: adapter, format: kohya, dtype: float16}, {kind: adapter, format: peft}]"
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}", outputs=outputs)
    result = run(read_recipe(path), out=tmp_path / "out")
    written = deltas_of(read(result.artifact / "kohya", base_of("sd15")))
    lost = truth.relative_error(written, deltas_of(result.merged))
    assert result.report["rounding"] == {"kohya": pytest.approx(lost, rel=1e-3)}
    assert lost > 0.005
    assert any("output kohya: float16 loses" in warning for warning in result.warnings)


def test_tags_that_can_not_be_read_are_left_out_and_said(tmp_path):
    metadata = {"ss_tag_frequency": "[1]"}
    source = foreign.write_kohya(pairs_of("sd15", 0), tmp_path / "a.safetensors", metadata=metadata)
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}")
    result = run(read_recipe(path), out=tmp_path / "out")
    assert any("training tags are left out" in warning for warning in result.warnings)


def test_a_preview_is_drawn_with_and_without_a_pipeline_output(tmp_path):
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    extra = f"preview: {{prompts: [a bowl], steps: 1, width: {tiny.SIZE}, height: {tiny.SIZE}}}\n"
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}", extra=extra)
    result = run(read_recipe(path), out=tmp_path / "out")
    assert files_of(result.artifact / "preview") == [
        "01-base.png", "01-lora-l0.png", "01-merged.png", "preview.jpg", "preview.png",
    ]  # fmt: skip
    assert (result.artifact / "preview" / "01-base.png").read_bytes() != (
        result.artifact / "preview" / "01-merged.png"
    ).read_bytes()


def test_a_base_with_pickled_weights_only_is_refused_where_weights_are_needed(tmp_path):
    bare = tmp_path / "bare"
    for name in files_of(tiny.folder("sd15")):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        other = name.replace(".safetensors", ".bin")
        (bare / other).write_bytes((tiny.folder("sd15") / name).read_bytes())
    source = foreign.write_diffusers(pairs_of("sd15", 0), tmp_path / "a.safetensors")
    path = write_recipe(tmp_path, "sd15", [source], "{combination_type: cat}", outputs="[{kind: pipeline}]")
    with pytest.raises(SourceError, match="a pickle can run code"):
        run(read_recipe(path, overrides=[f"base.source={bare}"]), out=tmp_path / "out")


@pytest.mark.parametrize("name", ["keys", "pop", "forward", "a.b", "training", "merged", "lora_0"])
def test_a_lora_may_have_any_name(name, tmp_path):
    pairs = [pairs_of("sd15", seed, components=("unet",), modules=r"attn1") for seed in range(2)]
    sources = [foreign.write_diffusers(lora, tmp_path / f"{n}.safetensors") for n, lora in enumerate(pairs)]
    path = write_recipe(tmp_path, "sd15", sources, "{combination_type: cat}")
    merged = run(read_recipe(path, overrides=[f"loras.0.name={name}"]), out=tmp_path / "out").merged
    want = truth.weighted_sum([(foreign.deltas(lora), weight) for lora, weight in zip(pairs, WEIGHTS, strict=True)])
    assert truth.relative_error(deltas_of(merged), want) <= 1e-6
