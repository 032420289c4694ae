"""`loramerge merge` and `loramerge resize`: no recipe, no base at hand."""

import json
import re
import shutil

import foreign
import published
import pytest
import torch
import truth
from canonical import deltas_of
from command_line import invoke, listing
from safetensors import safe_open
from safetensors.torch import save_file

from loramerge import load_adapter, merge, read_recipe
from loramerge.bases.published import architecture

pytestmark = pytest.mark.slow

FAMILIES = ("sd15", "sd2", "sdxl")
TEXT_PREFIXES = {"sd15": ("lora_te_",), "sd2": ("lora_te_",), "sdxl": ("lora_te1_", "lora_te2_")}


def kohya(folder, name, family, **options):
    pairs = published.lora(family, **options)
    foreign.write_kohya(
        pairs,
        folder / f"{name}.safetensors",
        unet_config=published.unet_config(family),
        text_prefixes=TEXT_PREFIXES[family],
    )
    return foreign.deltas(pairs)


def diffusers(folder, name, family, **options):
    pairs = published.lora(family, **options)
    foreign.write_diffusers(pairs, folder / f"{name}.safetensors")
    return foreign.deltas(pairs)


def peft(folder, name, family, **options):
    pairs = published.lora(family, **options)
    for component, modules in pairs.items():
        foreign.write_peft(modules, folder / name / component)
    return foreign.deltas(pairs)


def deltas_in(place, family):
    return deltas_of(load_adapter(place, architecture(family)))


def keys_of(file):
    with safe_open(file, "pt") as opened:
        return set(opened.keys())


@pytest.mark.parametrize("family", FAMILIES)
def test_kohya_files_become_a_file_for_comfyui_and_a1111(here, family):
    a, b = kohya(here, "a", family, seed=0), kohya(here, "b", family, seed=1, rank=2)
    done = invoke("merge", "a.safetensors:0.7", "b.safetensors:-0.4", "-o", "merged.safetensors")
    assert done.exit_code == 0, done.output
    want = truth.weighted_sum([(a, 0.7), (b, -0.4)])
    assert truth.relative_error(deltas_in("merged.safetensors", family), want) <= 1e-6
    assert all(key.startswith("lora_") for key in keys_of("merged.safetensors"))
    assert "kohya, float32, for ComfyUI and A1111; what went in is kohya" in done.stdout
    assert sorted(listing(here)) == ["a.safetensors", "b.safetensors", "merged.safetensors"]


def test_diffusers_files_become_a_diffusers_file(here):
    a, b = diffusers(here, "a", "sdxl", seed=0), diffusers(here, "b", "sdxl", seed=1)
    assert invoke("merge", "a.safetensors", "b.safetensors", "-o", "merged.safetensors").exit_code == 0
    want = truth.weighted_sum([(a, 1.0), (b, 1.0)])
    assert truth.relative_error(deltas_in("merged.safetensors", "sdxl"), want) <= 1e-6
    assert any(key.startswith("unet.") for key in keys_of("merged.safetensors"))


def test_peft_folders_become_a_peft_folder(here):
    a, b = peft(here, "a", "sd15", seed=0), peft(here, "b", "sd15", seed=1)
    assert invoke("merge", "a", "b:0.5", "-o", "merged").exit_code == 0
    want = truth.weighted_sum([(a, 1.0), (b, 0.5)])
    assert truth.relative_error(deltas_in("merged", "sd15"), want) <= 1e-6
    assert (here / "merged" / "unet" / "adapter_config.json").exists()


def test_mixed_formats_become_a_file_for_comfyui(here):
    kohya(here, "a", "sd15", seed=0), diffusers(here, "b", "sd15", seed=1)
    done = invoke("merge", "a.safetensors", "b.safetensors", "-o", "merged.safetensors")
    assert "kohya, float32, for ComfyUI and A1111; what went in is kohya, diffusers" in done.stdout


def test_the_printed_recipe_is_the_same_merge(here):
    kohya(here, "a", "sd15", seed=0), kohya(here, "b", "sd15", seed=1)
    arguments = ("merge", "a.safetensors:0.7", "b.safetensors", "--method", "ties", "--fp16", "-o", "m.safetensors")
    printed = invoke(*arguments, "--recipe")
    assert printed.exit_code == 0, printed.output
    assert sorted(listing(here)) == ["a.safetensors", "b.safetensors"]
    (here / "m.yaml").write_text(printed.stdout)
    recipe = read_recipe("m.yaml")
    assert (recipe.base.family, recipe.base.source) == ("sd15", None)
    assert invoke(*arguments).exit_code == 0
    again = merge(recipe, "again.safetensors").place
    assert again.read_bytes() == (here / "m.safetensors").read_bytes()
    assert invoke("run", "m.yaml").exit_code == 0
    with safe_open("m.safetensors", "pt") as one, safe_open("dist/m/kohya/m.safetensors", "pt") as other:
        assert all(torch.equal(one.get_tensor(key), other.get_tensor(key)) for key in keys_of("m.safetensors"))
    assert invoke("verify", "dist/m", "--rebuild", "--recipe", "m.yaml").exit_code == 0


def test_a_recipe_with_a_family_is_locked_planned_and_left_alone(here, parsed):
    kohya(here, "a", "sd15", seed=0)
    (here / "m.yaml").write_text(invoke("merge", "a.safetensors", "--recipe", "-o", "m.safetensors").stdout)
    assert invoke("lock", "m.yaml").exit_code == 0
    assert "base:" not in (here / "m.lock.yaml").read_text()
    assert invoke("run", "m.yaml").exit_code == 0
    assert invoke("plan", "m.yaml").exit_code == 0
    card = (here / "dist" / "m" / "README.md").read_text()
    assert "Base: `Stable Diffusion 1.5`" in card
    statement = json.loads((here / "dist" / "m" / "provenance.json").read_text())
    made_of = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [entry["annotations"]["role"] for entry in made_of if "role" in entry["annotations"]][:1] == ["lora"]
    (here / "m.yaml").write_text((here / "m.yaml").read_text().replace("family: sd15", "source: base"))
    refused = invoke("run", "m.yaml")
    assert refused.exit_code == 4
    assert "base has the source base, the lock has none" in refused.output


def test_weights_by_block_and_rank(here):
    kohya(here, "a", "sdxl", seed=0, rank=6)
    done = invoke("merge", "a.safetensors:{unet: {mid: 0.0}, text_encoder: 0.5}", "--rank", "3", "-o", "m.safetensors")
    assert done.exit_code == 0, done.output
    found = load_adapter("m.safetensors", architecture("sdxl"))
    assert {pair.rank for *_, pair in found} == {3}
    assert not [module for module in found.components["unet"] if module.startswith("mid_block.attentions")]
    (module, pair), *_ = published.lora("sdxl", seed=0, rank=6)["text_encoder"].items()
    delta = found.components["text_encoder"][module].delta()
    assert truth.relative_error({"": delta}, {"": 0.5 * best(pair, 3)}) <= 1e-5


def test_what_float32_costs_beside_loras_in_float16_is_said_once(here):
    kohya(here, "a", "sd15", seed=0, dtype=torch.float16)
    kohya(here, "b", "sd15", seed=1, dtype=torch.float16)
    done = invoke("merge", "a.safetensors", "b.safetensors", "-o", "m.safetensors")
    (row,) = [line for line in done.stdout.splitlines() if line.strip().startswith("smaller")]
    assert row.endswith("kohya: 527.4 kB instead of 1.1 MB with --dtype float16, as the LoRAs are")
    assert (here / "m.safetensors").stat().st_size == pytest.approx(2 * 527.4e3, rel=0.01)
    assert "(exact)" in done.stdout
    assert not [line for line in done.stderr.splitlines() if line.startswith("warning")]


def test_a_rounded_result_is_not_called_exact(here):
    kohya(here, "a", "sd15", seed=0)
    done = invoke("merge", "a.safetensors:0.7", "-o", "m.safetensors", "--dtype", "bfloat16")
    assert "(exact)" not in done.stdout
    assert "(exact before rounding)" in done.stdout
    assert re.search(r"rounding +kohya: bfloat16 loses \d\.\de-03 of the merge\n", done.stdout)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((1.0, -1.0), ["the same file, which takes part 2 times, with weight 0 in all", "the merge is zero"]),
        ((2.0, 1.0), ["the same file, which takes part 2 times, with weight 3 in all", "3.0 times as strong as a"]),
        ((0.4, 0.6), ["the same file, which takes part 2 times, with weight 1 in all"]),
    ],
)
def test_a_file_given_twice_is_said_with_what_comes_of_it(here, weights, said):
    kohya(here, "a", "sd15", seed=0)
    shutil.copy("a.safetensors", "b.safetensors")
    given = [f"{name}.safetensors:{weight}" for name, weight in zip("ab", weights, strict=True)]
    done = invoke("merge", *given, "-o", "m.safetensors")
    assert done.exit_code == 0, done.output
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == len(said)
    assert all(any(words in warning for warning in warnings) for words in said)


def best(pair, rank):
    """The best approximation of a pair's delta (Eckart-Young) in float64, by way of the QR of both factors."""
    down, up, alpha = pair
    left, core = torch.linalg.qr(up.double().flatten(1))
    right, other = torch.linalg.qr(down.double().flatten(1).T)
    outer, values, inner = torch.linalg.svd(alpha / len(down) * core @ other.T)
    found = left @ (outer[:, :rank] * values[:rank]) @ inner[:rank] @ right.T
    return found.reshape(up.shape[0], *down.shape[1:])


@pytest.mark.parametrize("family", FAMILIES)
def test_resize_gives_the_best_lora_of_a_rank(here, family):
    kohya(here, "a", family, seed=0, rank=8)
    done = invoke("resize", "a.safetensors", "--rank", "3", "-o", "b.safetensors")
    assert done.exit_code == 0, done.output
    pairs = published.lora(family, seed=0, rank=8)
    want = {name: {key: best(pair, 3) for key, pair in part.items()} for name, part in pairs.items()}
    assert truth.relative_error(deltas_in("b.safetensors", family), want) <= 1e-5
    assert "rank      3, which keeps" in done.stdout


def test_resize_by_energy_in_half_precision(here, parsed):
    deltas = kohya(here, "a", "sd15", seed=0, rank=8)
    facts = parsed(invoke("resize", "a.safetensors", "--energy", "0.5", "--fp16", "-o", "b.safetensors", "--json"))
    with safe_open("b.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys() if "alpha" not in key} == {torch.float16}  # noqa: SIM118
    error = truth.relative_error(deltas_in("b.safetensors", "sd15"), deltas)
    assert 0.5 < error <= 0.5**0.5 + 1e-3
    assert facts["place"] == str(here / "b.safetensors")
    assert facts["ranks"] == sorted(set(facts["ranks"]))
    assert facts["ranks"][-1] < 8
    assert facts["size"] == (here / "b.safetensors").stat().st_size


def test_resize_never_makes_a_rank_larger(here):
    deltas = kohya(here, "a", "sd15", seed=0, rank=4)
    assert invoke("resize", "a.safetensors", "--rank", "64", "-o", "b.safetensors").exit_code == 0
    found = load_adapter("b.safetensors", architecture("sd15"))
    assert {pair.rank for *_, pair in found} == {4}
    assert truth.relative_error(deltas_of(found), deltas) <= 1e-6


REFUSED = {
    "a comma": (("merge", "a.safetensors:0,7", "-o", "m.safetensors"), 64, "write a.safetensors:0.7"),
    "no number": (("merge", "a.safetensors:x", "-o", "m.safetensors"), 64, "'x' is no weight"),
    "no place": (("merge", "a.safetensors"), 64, "-o NAME.safetensors"),
    "a pickle's name": (("merge", "a.safetensors", "-o", "m.pt"), 64, "nothing is written that ends in .pt"),
    "no such file": (("merge", "b.safetensors", "-o", "m.safetensors"), 4, "beside it: a.safetensors"),
    "two families": (("merge", "a.safetensors", "xl.safetensors", "-o", "m.safetensors"), 5, "of different models"),
    "another base": (("merge", "a.safetensors", "--base", "sdxl", "-o", "m.safetensors"), 5, ""),
    "an input": (("merge", "a.safetensors", "-o", "a.safetensors", "--force"), 1, "is one of the LoRAs or models that"),
    "a rank for linear": (("merge", "a.safetensors", "--method", "linear", "--rank", "4", "-o", "m.safetensors"), 64,
                          "`linear` has no rank to choose"),
    "a density for cat": (("merge", "a.safetensors", "--density", "0.5", "-o", "m.safetensors"), 64, "merge.density"),
    "no size": (("resize", "a.safetensors", "-o", "m.safetensors"), 64, "--rank N, or --energy SHARE"),
    "no share": (("resize", "a.safetensors", "--energy", "1.5", "-o", "m.safetensors"), 64, "1.5 is not in the range"),
    "two to resize": (("resize", "a.safetensors", "b.safetensors", "--rank", "4", "-o", "m.safetensors"), 64, "b.safe"),
    "a LoRA for Flux": (("merge", "flux.safetensors", "-o", "m.safetensors"), 5, "looks like a LoRA for FLUX.1"),
    "one for Flux beside ours": (("merge", "a.safetensors", "flux.safetensors", "-o", "m.safetensors"), 5, "FLUX.1"),
    "a family mistyped": (("merge", "a.safetensors", "--base", "sdx", "-o", "m.safetensors"), 64, "mean 'sdxl'?"),
    "standard output": (("merge", "a.safetensors", "-o", "-"), 64, "name a file"),
    "a device": (("merge", "a.safetensors", "-o", "/dev/null", "--force"), 1, "neither a file nor a folder"),
    "no YAML": (("merge", "a.safetensors:{unet: [}", "-o", "m.safetensors"), 64, "such as 'a.safetensors:{unet: "),
    "two number formats": (("merge", "a.safetensors", "--fp16", "--dtype", "bfloat16", "-o", "m.safetensors"), 64,
                           "exclude each other"),
    "a recipe as JSON": (("merge", "a.safetensors", "--recipe", "--json"), 64, "prints YAML"),
    "a weight alone": (("merge", "a.safetensors", "0.5", "-o", "m.safetensors"), 64, "follows its LoRA, after a colon"),
    "a weight after =": (("merge", "a.safetensors=0.5", "-o", "m.safetensors"), 64, "after a colon"),
    "two weights": (("merge", "a.safetensors:0.5:0.7", "-o", "m.safetensors"), 64, "one weight follows a LoRA"),
    "two colons": (("merge", "a.safetensors::0.7", "-o", "m.safetensors"), 64, "after one colon"),
    "a file above": (("merge", "a.safetensors", "-o", "xl.safetensors/m.safetensors"), 1, "/xl.safetensors is a file"),
    "an address": (("merge", "https://host/a.safetensors", "-o", "m.safetensors"), 4, "download the file and name"),
    "a recipe": (("merge", "recipe.yaml", "-o", "m.safetensors"), 4, "`loramerge run` takes recipes"),
    "notes": (("merge", "notes.txt", "-o", "m.safetensors"), 4, "notes.txt is no LoRA: its name does not end in"),
    "a checkpoint": (("merge", "model.safetensors", "-o", "m.safetensors"), 4, "it is no LoRA\nhint: name a LoRA"),
    "an embedding": (("merge", "word.safetensors", "-o", "m.safetensors"), 4, "a textual inversion embedding"),
    "an open mapping": (("merge", "a.safetensors:{unet: {down: 1", "-o", "m.safetensors"), 64, "has no end"),
    "a target": (("merge", "a.safetensors", "-o", "m.safetensors", "--set", "publish=[{kind: folder, path: x}]"), 64,
                 "asks for more"),
    "a folder's format": (("merge", "a.safetensors", "-o", "m.safetensors", "--set", "outputs.0.format=peft"), 64,
                          "the format peft is a folder"),
    "a family unknown": (("merge", "tiny.safetensors", "-o", "m.safetensors"), 5, "say it with --base"),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    kohya(folder, "a", "sd15", seed=0)
    kohya(folder, "xl", "sdxl", seed=0)
    flux = {f"lora_unet_double_blocks_0_img_attn_proj.lora_{half}.weight": torch.ones(4, 4) for half in ("down", "up")}
    save_file(flux, folder / "flux.safetensors")
    text = {"text_encoder": published.lora("sd15", seed=0)["text_encoder"]}
    foreign.write_diffusers(text, folder / "tiny.safetensors")
    for name in ("recipe.yaml", "notes.txt"):
        (folder / name).write_text("version: 1\n")
    save_file({"conv_in.weight": torch.ones(2, 2)}, folder / "model.safetensors")
    save_file({"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 8)}, folder / "word.safetensors")
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_and_nothing_is_written(case, inputs, monkeypatch):
    monkeypatch.chdir(inputs)
    before = listing(inputs)
    arguments, code, message = REFUSED[case]
    done = invoke(*arguments)
    assert (done.exit_code, listing(inputs) == before) == (code, True), done.output
    assert message in done.output


def test_a_base_of_other_sizes_is_named_by_its_folder(here, models):
    refused = invoke("merge", models.ink, models.glow, "-o", "m.safetensors")
    assert refused.exit_code == 5
    assert "choose the base that the LoRA was trained on, with --base or as `base: source:`" in refused.output
    assert invoke("merge", models.ink, models.glow, "--base", models.base, "-o", "m.safetensors").exit_code == 0


def test_what_is_there_is_replaced_by_wish_alone(here):
    kohya(here, "a", "sd15", seed=0), peft(here, "p", "sd15", seed=0)
    (here / "m.safetensors").write_bytes(b"mine")
    refused = invoke("merge", "a.safetensors", "-o", "m.safetensors")
    assert refused.exit_code == 1
    assert "m.safetensors exists" in refused.output
    assert (here / "m.safetensors").read_bytes() == b"mine"
    assert invoke("merge", "a.safetensors", "-o", "m.safetensors", "--force").exit_code == 0
    (here / "notes").mkdir()
    (here / "notes" / "mine.txt").write_text("mine")
    refused = invoke("merge", "p", "-o", "notes", "--force")
    assert refused.exit_code == 1
    assert "a folder with mine.txt" in refused.output
    assert "--force" not in refused.output
    assert (here / "notes" / "mine.txt").read_text() == "mine"


def test_a_single_lora_is_compared_with_itself(here):
    kohya(here, "a", "sd15", seed=0, rank=4)
    said = invoke("resize", "a.safetensors", "--rank", "1", "-o", "m.safetensors").stderr
    assert "warning: the result is far from the LoRA (relative error " in said
    assert said.endswith("Rank 4 is exact\n")
    assert "merge is far" not in said
