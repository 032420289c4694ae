from __future__ import annotations

import math

import foreign
import pytest
import tiny
import torch
from canonical import adapter_of, base_of
from command_line import invoke
from safetensors.torch import save_file

from loramerge.analysis.inspection import inspect
from loramerge.errors import ExitCode, SourceError
from loramerge.numerics.norms import norm_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pairs():
    return foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2.0, seed=1, conv_rank=2, conv_alpha=1.0)


@pytest.fixture(params=["peft", "diffusers", "kohya"])
def written(request, pairs, tmp_path):
    """The LoRA in each format: what to inspect, and the format's name."""
    if request.param == "diffusers":
        return foreign.write_diffusers(pairs, tmp_path / "x.safetensors", adapter_metadata=True), request.param
    if request.param == "kohya":
        return foreign.write_kohya(pairs, tmp_path / "x.safetensors"), request.param
    for component, modules in pairs.items():
        foreign.write_peft(modules, tmp_path / component)
    return tmp_path, request.param


@pytest.mark.parametrize("with_base", [True, False])
def test_every_format_with_and_without_its_base(written, pairs, with_base):
    path, form = written
    found = inspect(str(path), base_of("sdxl") if with_base else None)
    expected = {(component, name): pair for component, name, pair in adapter_of(pairs)}
    assert found.format == form
    assert found.family == ("sdxl" if with_base else None)
    assert {(module.component, module.name) for module in found.modules} == set(expected)
    for module in found.modules:
        pair = expected[module.component, module.name]
        assert (module.rank, module.shape) == (pair.rank, pair.shape)
        assert module.scale == pytest.approx(pair.scale)
        assert module.alpha == pytest.approx(pair.scale * pair.rank)
        assert module.norm == pytest.approx(float(torch.linalg.vector_norm(pair.delta())))
    assert found.whole.norm == pytest.approx(math.hypot(*(norm_of(pair) for pair in expected.values())))
    assert found.whole.count(lambda module: module.rank).keys() == {2, 4}
    assert sum(len(block.modules) for block in found.blocks) == len(expected)


def test_blocks_in_their_order(pairs, tmp_path):
    found = inspect(str(foreign.write_diffusers(pairs, tmp_path / "x.safetensors")))
    assert [block.name for block in found.blocks] == [
        *(f"unet.down_blocks.{number}" for number in range(3)),
        "unet.mid_block",
        *(f"unet.up_blocks.{number}" for number in range(3)),
        *(f"{encoder}.layers.{number}" for encoder in ("text_encoder", "text_encoder_2") for number in range(2)),
    ]
    assert [module.norm for module in found.largest(3)] == sorted((m.norm for m in found.modules), reverse=True)[:3]


def test_the_summary(models):
    result = invoke("inspect", models.ink)
    assert result.exit_code == ExitCode.DONE
    assert result.stdout.splitlines()[0] == str(models.ink)
    said = " ".join(result.stdout.split())
    for expected in (
        "format kohya",
        "file ink.safetensors, 270.4 kB, 282 × F16",
        "modules 94: text_encoder 8, text_encoder_2 8, unet 78",
        "rank 4 alpha 2 scale 0.5 norm ",
        "unet.down_blocks.1 10 4 ",
        "trigger phrase in ink",
        "ss_network_dim 4",
        "others modelspec.sai_model_spec, modelspec.trigger_phrase",
    ):
        assert expected in said
    assert said.count("unet.up_blocks.1.attentions") <= 5


def test_every_module(models):
    result = invoke("inspect", models.ink, "-v")
    assert sum(line.startswith("  unet.") and "×" in line for line in result.stdout.splitlines()) == 78


def test_as_json(models, parsed):
    ink, glow = parsed(invoke("inspect", models.ink, models.glow, "--json"))
    assert (ink["format"], glow["format"]) == ("kohya", "diffusers")
    assert ink["ranks"] == {"4": 94}
    assert ink["files"][0]["dtypes"] == {"F16": 282}
    assert ink["components"]["unet"]["modules"] == 78
    assert len(ink["modules"]) == 94
    assert ink["metadata"]["modelspec.trigger_phrase"] == "in ink"


def test_a_base_tells_the_family(models):
    assert "Stable Diffusion XL" in invoke("inspect", models.ink, "--base", models.base).stdout


def test_a_base_that_does_not_fit(models):
    result = invoke("inspect", models.ink, "--base", tiny.folder("sd15"))
    assert result.exit_code == ExitCode.MISMATCH
    assert "modules do not fit" in result.stderr


def test_the_family_by_its_real_widths(here):
    module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    save_file(
        {f"{module}.lora_A.weight": torch.ones(4, 2048), f"{module}.lora_B.weight": torch.ones(640, 4)}, "x.safetensors"
    )
    result = invoke("inspect", "x.safetensors")
    assert "Stable Diffusion XL" in result.stdout
    assert result.stderr == "x: read …\nx: measure …\n"


def test_a_misfit_without_a_base_is_a_warning(here):
    stems = {f"unet.down_blocks.2.attentions.0.transformer_blocks.{number}.attn2.to_k": 2048 for number in range(10)}
    stems["unet.down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_v"] = 2049
    halves = {f"{stem}.lora_A.weight": torch.ones(4, width) for stem, width in stems.items()}
    save_file(halves | {f"{stem}.lora_B.weight": torch.ones(1280, 4) for stem in stems}, "x.safetensors")
    result = invoke("inspect", "x.safetensors")
    assert result.exit_code == ExitCode.DONE
    assert "warning: LoRA x.safetensors: 1 of 11 modules do not fit Stable Diffusion XL" in result.stderr


def test_what_can_not_be_merged_is_refused_here_too(here):
    save_file({"x.oft_blocks": torch.ones(2, 2)}, "x.safetensors")
    result = invoke("inspect", "x.safetensors")
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "\nerror: x.safetensors holds OFT" in result.stderr


def test_metadata_of_strangers(here, pairs):
    metadata = {
        "ss_tag_frequency": '{"10_ink": {"ink": 9, "fox ": 20}, "5_more": {"fox": 1}}',
        "modelspec.title": "\x1b[2J" + "long " * 100,
    }
    foreign.write_kohya(pairs, here / "x.safetensors", metadata=metadata)
    said = invoke("inspect", "x.safetensors").stdout
    assert "\x1b" not in said
    assert "tags             fox, ink" in said
    assert max(map(len, said.splitlines())) < 140
    foreign.write_kohya(pairs, here / "x.safetensors", metadata={"ss_tag_frequency": "nonsense"})
    assert invoke("inspect", "x.safetensors").exit_code == ExitCode.DONE


def test_a_repository_on_the_hub(hub, models, parsed):
    repository = hub.repository("owner/ink", {"ink.safetensors": models.ink.read_bytes()})
    (found,) = parsed(invoke("inspect", "hf://owner/ink", "--revision", "main", "--json"))
    assert found["revision"] == repository.head
    result = invoke("inspect", "hf://owner/ink")
    assert f"revision  {repository.head}" in result.stdout
    assert [line for line in result.stderr.splitlines() if line.endswith(" …")] == [
        "ink: load …", "ink: read …", "ink: measure …",
    ]  # fmt: skip
    with pytest.raises(SourceError, match="has no revision v9"):
        inspect("hf://owner/ink", revision="v9")


def test_several_are_compared(models, parsed):
    result = invoke("inspect", models.ink, models.glow, "--base", models.base)
    assert result.exit_code == ExitCode.DONE
    alone = ["ink: read …", "ink: measure …", "glow: read …", "glow: measure …"]
    assert result.stderr.splitlines() == [*alone, "2 LoRAs: compare …"]
    said = " ".join(result.stdout.split())
    assert "overlap of ink and glow" in said
    assert "modules in both" in said
    assert "unet.up_blocks.1" in said.partition("overlap of")[2]
    ink, glow = parsed(invoke("inspect", models.ink, models.glow, "--base", models.base, "--json"))
    (entry,), (mirrored,) = ink["overlap"], glow["overlap"]
    assert (entry["with"], mirrored["with"]) == (str(models.glow), str(models.ink))
    assert entry["cosine"] == mirrored["cosine"]
    assert entry["alone"] == {"this": mirrored["alone"]["other"], "other": mirrored["alone"]["this"]}
    assert entry["alone"]["this"] + entry["modules"] == len(ink["modules"])
    assert invoke("inspect", models.ink).stdout.count("overlap") == 0
    assert parsed(invoke("inspect", models.ink, "--json"))[0]["overlap"] == []


def test_one_that_undoes_another_is_a_warning(here, pairs):
    against = {
        component: {name: (down, -up, alpha) for name, (down, up, alpha) in modules.items()}
        for component, modules in pairs.items()
    }
    (here / "b").mkdir()
    foreign.write_kohya(pairs, here / "a.safetensors")
    foreign.write_diffusers(against, here / "b" / "a.safetensors", adapter_metadata=True)
    result = invoke("inspect", "a.safetensors", "b/a.safetensors", "-v")
    assert "a.safetensors and b/a.safetensors pull unet, text_encoder, text_encoder_2 in opposite" in result.stderr
    assert "expect one to lose; lower its weight there\n" in result.stderr
    rows = [line for line in result.stdout.partition("overlap of")[2].splitlines() if "-1.000" in line]
    assert len(rows) == sum(map(len, pairs.values())) + 1


def test_the_same_file_twice(models):
    done = invoke("inspect", models.ink, models.ink)
    (warning,) = [line for line in done.stderr.splitlines() if line.endswith("same file")]
    assert "ink.safetensors (1) and " in warning
    assert warning.endswith("are the same file")
    assert "1 pair not shown" in done.stderr
    assert "overlap of" not in done.stdout
    assert "  the same file\n" in invoke("inspect", models.ink, models.ink, "-v").stdout


def test_the_same_tensors_in_another_format(here, pairs, parsed):
    foreign.write_kohya(pairs, here / "a.safetensors")
    foreign.write_diffusers(pairs, here / "b.safetensors", adapter_metadata=True)
    one, _ = parsed(invoke("inspect", "a.safetensors", "b.safetensors", "--json"))
    (entry,) = one["overlap"]
    assert entry["same"] == "the same LoRA in different files"
    assert entry["warnings"] == ["a and b are the same LoRA in different files"]


def test_loras_for_different_models_are_not_compared(here):
    for name, width in (("a", 768), ("b", 2048)):
        module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
        factors = {"lora_A": torch.ones(4, width), "lora_B": torch.ones(640, 4)}
        save_file({f"{module}.{key}.weight": value for key, value in factors.items()}, f"{name}.safetensors")
    result = invoke("inspect", "a.safetensors", "b.safetensors")
    assert result.exit_code == ExitCode.DONE
    assert "a and b are for different models, and were not compared" in result.stderr
    assert "overlap" not in result.stdout


def test_every_lora_of_a_place_that_holds_several(here, pairs, parsed):
    for part in ("kohya", "diffusers"):
        (here / "dist" / part).mkdir(parents=True)
    foreign.write_kohya(pairs, here / "dist" / "kohya" / "merged.safetensors")
    foreign.write_diffusers(pairs, here / "dist" / "diffusers" / "pytorch_lora_weights.safetensors")
    found = parsed(invoke("inspect", "dist", "--json"))
    assert [(each["reference"], each["format"]) for each in found] == [
        ("dist/diffusers/pytorch_lora_weights.safetensors", "diffusers"),
        ("dist/kohya/merged.safetensors", "kohya"),
    ]


def test_a_place_that_holds_too_many_is_not_shown(here, pairs):
    (here / "loras").mkdir()
    one = foreign.write_kohya(pairs, here / "loras" / "0.safetensors")
    for number in range(1, 13):
        (here / "loras" / f"{number}.safetensors").hardlink_to(one)
    result = invoke("inspect", "loras")
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "loras holds 13 LoRAs" in result.stderr


def test_a_family_in_place_of_a_base(here):
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    shapes = {"lora_A": (4, 768), "lora_B": (320, 4)}
    save_file({f"{module}.{half}.weight": torch.ones(shape) for half, shape in shapes.items()}, "x.safetensors")
    assert "family Stable Diffusion 1.5" in " ".join(
        invoke("inspect", "x.safetensors", "--base", "sd15").stdout.split()
    )
    assert invoke("inspect", "x.safetensors", "--base", "sd2").exit_code == ExitCode.MISMATCH
    wrong = invoke("inspect", "x.safetensors", "--base", "sd4")
    assert wrong.exit_code == ExitCode.USAGE
    assert "neither a folder nor a family" in wrong.stderr


def test_a_weight_is_not_taken(models):
    result = invoke("inspect", f"{models.ink}:0.7")
    assert result.exit_code == ExitCode.USAGE
    assert f"no weights are taken here; name {models.ink}" in result.stderr


def test_metadata_that_name_a_family_of_other_sizes_are_a_warning(models):
    said = invoke("inspect", models.ink).stderr
    assert "94 of 94 modules do not fit Stable Diffusion XL" in said
    assert said.endswith("--base names the model that it was trained on\n")
    assert "warning" not in invoke("inspect", models.ink, "--base", models.base).stderr
