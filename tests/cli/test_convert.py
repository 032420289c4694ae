"""`loramerge convert`: another format, the same LoRA."""

import hashlib
import json

import foreign
import published
import pytest
import small_models
import torch
import truth
from canonical import deltas_of
from command_line import invoke, listing
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loramerge import convert, load_adapter
from loramerge.bases.published import architecture
from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow

FAMILY = "sd15"
SAID = {
    "modelspec.title": "Ink",
    "modelspec.author": "somebody",
    "modelspec.date": "2024-05-01",
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.trigger_phrase": "in ink, black",
    "modelspec.hash_sha256": "0xold",
    "sshs_model_hash": "old",
    "ss_network_dim": "4",
    "ss_network_alpha": "2.0",
    "ss_learning_rate": "0.0001",
    "ss_tag_frequency": json.dumps({"10_ink": {"ink": 12}}),
}

KEPT = ("modelspec.title", "modelspec.author", "modelspec.date", "modelspec.trigger_phrase", "ss_learning_rate")


def kohya(place, *, metadata=SAID, **options):
    pairs = published.lora(FAMILY, seed=0, **options)
    config = published.unet_config(FAMILY)
    foreign.write_kohya(pairs, place, unet_config=config, text_prefixes=("lora_te_",), metadata=metadata)
    return foreign.deltas(pairs)


def deltas_in(place):
    return deltas_of(load_adapter(place, architecture(FAMILY)))


def metadata_of(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def factors(file):
    """Every factor's bytes, whatever it is called."""
    kept = {key: tensor for key, tensor in load_file(file).items() if not key.endswith(".alpha")}
    return sorted((str(tensor.dtype), tensor.view(torch.uint8).numpy().tobytes()) for tensor in kept.values())


def weights_of(place):
    return place if place.is_file() else place / "unet" / "adapter_model.safetensors"


@pytest.mark.parametrize("chosen", ["comfyui", "kohya", "diffusers", "peft"])
def test_a_lora_goes_into_any_format_and_back(here, chosen, parsed):
    want = kohya(here / "ink.safetensors", dtype=torch.float16)
    there = "there" if chosen == "peft" else "there.safetensors"
    done = invoke("convert", "ink.safetensors", "-o", there, "--format", chosen, "--json")
    assert done.exit_code == 0, done.output
    facts = parsed(done)
    assert (facts["format"], facts["source_format"], facts["dtype"]) == (chosen, "kohya", "float16")
    assert truth.relative_error(deltas_in(there), want) <= 1e-7
    said = metadata_of(weights_of(here / there))
    for key in (
        "modelspec.title",
        "modelspec.author",
        "modelspec.date",
        "modelspec.trigger_phrase",
        "ss_learning_rate",
    ):
        assert said[key] == SAID[key]
    assert said["modelspec.sai_model_spec"] == "1.0.1"
    assert said["modelspec.hash_sha256"] == f"0x{content_of(weights_of(here / there))}"
    sha256 = hashlib.sha256((here / "ink.safetensors").read_bytes()).hexdigest()
    assert json.loads(said["loramerge.converted_from"]) == {"ink.safetensors": sha256}
    assert "loramerge.recipe" not in said
    assert "modelspec.merged_from" not in said

    assert invoke("convert", there, "-o", "back.safetensors", "--format", "kohya").exit_code == 0
    assert truth.relative_error(deltas_in("back.safetensors"), want) <= 1e-7
    before, after = load_file("ink.safetensors"), load_file("back.safetensors")
    assert before.keys() == after.keys()
    if chosen != "diffusers":
        assert factors("ink.safetensors") == factors("back.safetensors")
    again = metadata_of("back.safetensors")
    changed = {"modelspec.sai_model_spec", "modelspec.hash_sha256", "sshs_model_hash"}
    assert {key: again[key] for key in SAID if key not in changed} == {
        key: value for key, value in SAID.items() if key not in changed
    }


def content_of(file):
    data = file.read_bytes()
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def test_programs_find_the_hashes(here):
    kohya(here / "ink.safetensors")
    for chosen in ("kohya", "comfyui"):
        convert("ink.safetensors", f"{chosen}.safetensors", chosen)
        said, content = metadata_of(f"{chosen}.safetensors"), content_of(here / f"{chosen}.safetensors")
        assert (said["sshs_model_hash"], said["modelspec.hash_sha256"]) == (content, f"0x{content}")
        assert len(said["sshs_legacy_hash"]) == len("12345678")
        assert said["modelspec.architecture"] == "stable-diffusion-v1/lora"
        assert said["modelspec.resolution"] == "512x512"
        assert said["modelspec.implementation"] == "https://github.com/Stability-AI/generative-models"


def test_the_same_file_is_the_same_bytes(here):
    kohya(here / "ink.safetensors")
    for number in (1, 2):
        (here / str(number)).mkdir()
        convert("ink.safetensors", here / str(number) / "x.safetensors", "comfyui")
    assert (here / "1" / "x.safetensors").read_bytes() == (here / "2" / "x.safetensors").read_bytes()


def test_a_scale_that_is_no_power_of_two_makes_float32_of_diffusers_files(here):
    want = kohya(here / "ink.safetensors", dtype=torch.float16, alpha=3.0)
    done = convert("ink.safetensors", "x.safetensors", "diffusers")
    assert (done.dtype, done.folded, done.rounding) == ("float32", done.modules, 0.0)
    assert "the scale of" in done.notes[0]
    assert done.notes[1] == "numbers of float16 are float32 now: no less holds what they became to the bit"
    assert truth.relative_error(deltas_in("x.safetensors"), want) <= 1e-7
    kept = convert("ink.safetensors", "y.safetensors", "comfyui")
    assert (kept.dtype, kept.folded, kept.notes) == ("float16", 0, ())
    assert factors("y.safetensors") == factors("ink.safetensors")


def test_numbers_that_float16_has_no_half_of_are_written_in_float32(here):
    kohya(here / "ink.safetensors", dtype=torch.float16)
    tensors = load_file("ink.safetensors")
    save_file(
        {key: tensor * (1.0 if key.endswith(".alpha") else 2.0**-20) for key, tensor in tensors.items()},
        "ink.safetensors",
    )
    assert convert("ink.safetensors", "x.safetensors", "diffusers").dtype == "float32"
    assert truth.relative_error(deltas_in("x.safetensors"), deltas_in("ink.safetensors")) == 0


def test_rounding_is_measured_where_it_is_asked_for(here):
    want = kohya(here / "ink.safetensors")
    done = invoke("convert", "ink.safetensors", "-o", "x.safetensors", "--format", "comfyui", "--fp16")
    assert done.exit_code == 0, done.output
    rounding = convert("ink.safetensors", "y.safetensors", "comfyui", dtype="float16").rounding
    assert f"float16 loses {rounding:.1e} of the LoRA" in done.stderr
    assert truth.relative_error(deltas_in("x.safetensors"), want) == pytest.approx(rounding, rel=0.01)
    assert factors("x.safetensors") == factors("y.safetensors")


def test_different_alphas_stay_and_what_diffusers_makes_of_them_is_said(here):
    kohya(here / "ink.safetensors")
    tensors = load_file("ink.safetensors")
    for key in [key for key in tensors if key.endswith(".alpha")][::2]:
        tensors[key] = torch.tensor(1.0)
    save_file(tensors, "ink.safetensors")
    done = convert("ink.safetensors", "x.safetensors", "kohya")
    assert all(torch.equal(tensor, load_file("x.safetensors")[key]) for key, tensor in tensors.items())
    assert "diffusers takes the commonest for all attention layers of such a file" in done.notes[0]


def test_a_negative_alpha_is_a_sign_where_there_can_be_none(here):
    kohya(here / "ink.safetensors")
    tensors = {
        key: -tensor if key.endswith(".alpha") else tensor for key, tensor in load_file("ink.safetensors").items()
    }
    save_file(tensors, "ink.safetensors")
    want = deltas_in("ink.safetensors")
    convert("ink.safetensors", "x", "peft")
    assert truth.relative_error(deltas_in("x"), want) == 0


def test_alphas_of_rslora_are_rounded_and_that_is_said(here):
    pairs = published.lora(FAMILY, seed=0, rank=3)
    folder = foreign.write_peft(pairs["unet"], here / "ink" / "unet", rslora=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 1}))
    done = convert("ink", "x.safetensors", "comfyui")
    assert done.notes == (
        f"the alphas of {done.modules} modules are no numbers of float32, and were rounded, by 6e-8 of each at most",
    )
    assert truth.relative_error(deltas_in("x.safetensors"), deltas_in("ink")) <= 1e-7


def test_what_a_card_says_goes_into_the_file_and_what_it_was_trained_on_comes_back(here):
    pairs = published.lora(FAMILY, seed=0)
    foreign.write_peft(pairs["unet"], here / "ink" / "unet")
    (here / "ink" / "README.md").write_text(
        "---\nlicense: mit\nbase_model: some/model\ninstance_prompt: in ink\n---\n", encoding="utf-8"
    )
    convert("ink", "x.safetensors", "kohya")
    said = metadata_of("x.safetensors")
    assert (said["modelspec.license"], said["modelspec.trigger_phrase"]) == ("mit", "in ink")
    convert("x.safetensors", "back", "peft")
    config = json.loads((here / "back" / "unet" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/model"
    assert metadata_of(here / "back" / "unet" / "adapter_model.safetensors")["modelspec.license"] == "mit"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ink.safetensors", "-o", "x.safetensors"), 64, "say in which format: --format NAME"),
        (("ink.safetensors", "--format", "kohya"), 64, "say where the result goes"),
        (("ink.safetensors", "-o", "x", "--format", "kohya"), 64, "the format kohya is one file"),
        (("ink.safetensors", "-o", "x.safetensors", "--format", "peft"), 64, "the format peft is a folder"),
        (("ink.safetensors", "-o", "x.pt", "--format", "kohya"), 64, "nothing is written that ends in .pt"),
        (("ink.safetensors", "-o", "-", "--format", "kohya"), 64, "a LoRA is no text that could be printed"),
        (("ink.safetensors:0.5", "-o", "x.safetensors", "--format", "kohya"), 64, "no weights are taken here"),
        (("ink.safetensors", "-o", "x.safetensors", "--format", "gguf"), 64, "'gguf' is not one of"),
        (("nothing.safetensors", "-o", "x.safetensors", "--format", "kohya"), 4, "nothing.safetensors"),
        (("ink.safetensors", "-o", "ink.safetensors", "--format", "comfyui", "--force"), 1, "is one of the LoRAs"),
        (("ink.safetensors", "-o", "x.safetensors", "--format", "kohya", "--base", "sdxl"), 5, "ink"),
        (("ink.safetensors", "-o", "x.safetensors", "--format", "kohya", "--base", "sdx"), 64, "did you mean 'sdxl'?"),
        (("wide.safetensors", "-o", "x.safetensors", "--format", "comfyui", "--fp16"), 1, "float16 can't hold"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_written(here, arguments, code, message):
    kohya(here / "ink.safetensors")
    if "wide.safetensors" in arguments:
        save_file({key: tensor * 1e6 for key, tensor in load_file("ink.safetensors").items()}, "wide.safetensors")
    before = listing(here)
    done = invoke("convert", *arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert listing(here) == before


def test_a_format_that_can_not_hold_it_is_refused_before_anything_is_written(here):
    small_models.save("LlamaForCausalLM", here / "model")
    small_models.lora("LlamaForCausalLM", here / "ink", seed=0)
    before = listing(here)
    for chosen in ("comfyui", "kohya", "diffusers"):
        done = invoke("convert", "ink", "-o", "x.safetensors", "--format", chosen, "--base", "model")
        assert done.exit_code == ExitCode.MISMATCH, done.output
        assert f"`format: {chosen}` is for parts of a pipeline that draws" in done.stderr
        assert listing(here) == before
    done = convert("ink", "x", "peft", base="model")
    assert factors("x/adapter_model.safetensors") == factors("ink/adapter_model.safetensors")
    assert done.notes == ()


def test_other_kinds_become_a_lora_or_stay_full_differences(here):
    generator = torch.Generator().manual_seed(0)
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    shapes = {"hada_w1_a": (320, 2), "hada_w1_b": (2, 320), "hada_w2_a": (320, 2), "hada_w2_b": (2, 320)}
    loha = {f"{stem}.{name}": torch.randn(shape, generator=generator).half() for name, shape in shapes.items()}
    save_file({**loha, f"{stem}.alpha": torch.tensor(1.0)}, "loha.safetensors")
    save_file({f"{stem}.diff": torch.randn(320, 320, generator=generator).half()}, "full.safetensors")

    done = convert("loha.safetensors", "a.safetensors", "comfyui", base=FAMILY)
    assert (done.dtype, done.ranks) == ("float32", (4,))
    assert done.notes[-1] == "1 module of LoHa became 1 LoRA pair, with the same deltas"
    assert truth.relative_error(deltas_in("a.safetensors"), deltas_in("loha.safetensors")) <= 1e-6

    kept = invoke("convert", "full.safetensors", "-o", "b.safetensors", "--format", "comfyui", "--base", FAMILY)
    assert kept.exit_code == 0, kept.output
    assert "1, full differences" in kept.stdout
    assert factors("b.safetensors") == factors("full.safetensors")
    before = listing(here)
    done = invoke("convert", "full.safetensors", "-o", "c.safetensors", "--format", "diffusers", "--base", FAMILY)
    assert done.exit_code == ExitCode.MISMATCH
    assert "can hold none" in done.stderr
    assert listing(here) == before
