"""LoRAs that strangers trained, on the published architecture of Stable Diffusion 1.5."""

import json
from itertools import combinations

import pytest
import shared_data
import torch
import truth
from canonical import deltas_of
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from loramerge import Adapter, LoramergeError, WeightedAdapter, combine, load_adapter, load_base, read_recipe, run
from loramerge.methods import Merge

pytestmark = pytest.mark.slow

NAMES = ("pokemon", "rick-and-morty", "portrait")
WEIGHTS = (0.5, 0.8, 0.6)


@pytest.fixture(scope="module")
def base():
    return load_base(str(shared_data.model("stable-diffusion-v1-5")))


@pytest.fixture(scope="module")
def adapters(base):
    return {name: load_adapter(str(shared_data.lora(f"sd15-{name}.safetensors")), base) for name in NAMES}


def recipe(tmp_path, merge="{combination_type: cat}", source=lambda name: shared_data.lora(f"sd15-{name}.safetensors")):
    loras = "".join(
        f"\n  - {{name: {name}, source: {source(name)}, rank: 4, weight: {weight}}}"
        for name, weight in zip(NAMES, WEIGHTS, strict=True)
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(f"""
version: 1
name: three-styles
base: {{source: {shared_data.model("stable-diffusion-v1-5")}}}
loras: {loras}
merge: {merge}
outputs: [{{kind: adapter, format: peft}}, {{kind: adapter, format: diffusers}}, {{kind: adapter, format: kohya}}]
report: brief
""")
    return read_recipe(path)


def raw_deltas(name):
    """The file's deltas without our reader: these three have no alpha, so each is up @ down."""
    tensors = load_file(shared_data.lora(f"sd15-{name}.safetensors"))
    found = {}
    for key, down in tensors.items():
        if ".down." not in key:
            continue
        found[module_of(key)] = tensors[key.replace(".down.", ".up.")].double() @ down.double()
    return found


def module_of(key):
    bare = key.removeprefix("unet.").removesuffix(".up.weight").removesuffix(".down.weight")
    module = bare.removesuffix("_lora").removesuffix(".lora").replace(".processor", "")
    return f"{module}.0" if module.endswith(".to_out") else module


def is_one_of_a_kind(module):
    """Every projection of the narrowest layers, where SVDs are quick, and one of each other shape."""
    return module.startswith("down_blocks.0.attentions.0.") or (
        module.startswith(("up_blocks.2.attentions.0.", "mid_block."))
        and module.endswith(("attn1.to_out.0", "attn2.to_v"))
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_module_is_read_to_its_delta(name, adapters):
    adapter = adapters[name]
    assert len(adapter) == 128
    assert truth.relative_error(deltas_of(adapter), {"unet": raw_deltas(name)}) <= 1e-6


def test_three_merge_onto_the_real_architecture_and_reload_in_diffusers(tmp_path):
    from diffusers import UNet2DConditionModel
    from diffusers.loaders import StableDiffusionLoraLoaderMixin

    result = run(recipe(tmp_path), out=tmp_path / "out")
    want = truth.weighted_sum(
        [({"unet": raw_deltas(name)}, weight) for name, weight in zip(NAMES, WEIGHTS, strict=True)]
    )
    assert truth.relative_error(deltas_of(result.merged), want) <= 1e-6
    assert result.fidelity["unet"] <= 1e-6
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(shared_data.model("stable-diffusion-v1-5"), subfolder="unet")
        )
    unet.to_empty(device="cpu")
    for number, output in enumerate(("diffusers", "kohya")):
        weights = next((result.artifact / output).glob("*.safetensors"))
        state, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
            weights, unet_config=unet.config, return_lora_metadata=True
        )
        StableDiffusionLoraLoaderMixin.load_lora_into_unet(
            state, network_alphas=alphas, unet=unet, adapter_name=f"a{number}", metadata=metadata
        )
        assert truth.relative_error(truth.adapter_deltas(unet, f"a{number}"), want["unet"]) <= 1e-6


@pytest.mark.parametrize("pair", list(combinations(NAMES, 2)))
def test_linear_on_strangers_loras_says_how_far_off_it_is(pair, base, tmp_path):
    chosen = recipe(tmp_path, merge="{combination_type: linear}")
    loras = tuple(lora for lora in chosen.entries if lora.name in pair)
    result = run(chosen.model_copy(update={"entries": loras}), out=tmp_path / "out")
    assert 0.9 < result.fidelity["unet"] < 1.1
    assert any("far from the weighted sum" in warning and "`cat` is exact, with rank 8" in warning
               for warning in result.warnings)  # fmt: skip
    report = json.loads((result.artifact / "report.json").read_text())
    assert report["fidelity"]["unet"]["error"] == pytest.approx(result.fidelity["unet"])


def test_the_mangled_file_is_refused_with_the_keys_that_match_nothing(base):
    path = shared_data.lora("sd15-portrait-mangled-kohya.safetensors")
    with pytest.raises(LoramergeError) as error:
        load_adapter(str(path), base)
    assert "holds names with a doubled prefix (256 of 256 tensors, first lora_unet_unet_down" in error.value.message
    assert error.value.exit_code == 4


def test_a_lora_for_another_family_is_named_with_shapes_and_family(base, tmp_path):
    sd2 = load_file(shared_data.lora("sd15-portrait.safetensors"))
    for key, tensor in sd2.items():
        if "attn2" in key and ("to_k" in key or "to_v" in key) and ".down." in key:
            sd2[key] = torch.zeros(tensor.shape[0], 1024)
    save_file(sd2, tmp_path / "sd2.safetensors")
    with pytest.raises(LoramergeError) as error:
        load_adapter(str(tmp_path / "sd2.safetensors"), base)
    assert "32 of 128 modules do not fit" in error.value.message
    assert "is 320×1024, the base has 320×768" in error.value.message
    assert "a LoRA for Stable Diffusion 2.x, the base is Stable Diffusion 1.5" in error.value.message
    assert error.value.exit_code == 5


def test_a_family_is_guessed_without_a_base():
    adapter = load_adapter(str(shared_data.lora("sd15-portrait.safetensors")))
    assert len(adapter) == 128


@pytest.mark.parametrize("combination_type", ["cat", "linear", "ties", "magnitude_prune", "svd", "ties_svd"])
def test_the_factored_engine_gives_what_peft_gives(combination_type, base, adapters):
    density = {"density": 0.5} if "ties" in combination_type or "prune" in combination_type else {}
    few = {
        name: Adapter(
            {
                component: {module: pair for module, pair in modules.items() if is_one_of_a_kind(module)}
                for component, modules in adapter.components.items()
            }
        )
        for name, adapter in adapters.items()
    }
    loras = [
        WeightedAdapter(name, adapter, weight) for (name, adapter), weight in zip(few.items(), WEIGHTS, strict=True)
    ]
    chosen = {
        engine: TypeAdapter(Merge).validate_python({"combination_type": combination_type, "engine": engine, **density})
        for engine in ("factored", "peft")
    }
    ours = combine(loras, base, chosen["factored"], device="cpu").adapter
    theirs = combine(loras, base, chosen["peft"], device="cpu", reference=True).adapter
    assert len(ours) == 8 + 2 * 2
    assert {pair.shape for _, _, pair in ours} == {pair.shape for _, _, pair in adapters[NAMES[0]]}
    tolerance = 1e-5 if combination_type.endswith("svd") else 1e-6
    assert truth.relative_error(deltas_of(ours), deltas_of(theirs)) <= tolerance


@pytest.mark.parametrize("combination_type", ["svd", "ties_svd"])
def test_the_energy_of_real_loras_says_which_rank_they_need(combination_type, base, tmp_path):
    density = ", density: 0.5" if combination_type == "ties_svd" else ""
    rank = "svd_rank: {energy: 0.9, max: 10}"
    merge = f"{{combination_type: {combination_type}, engine: factored, {rank}{density}}}"

    def one_of_a_kind(name):
        """Dense deltas take a second for each layer as wide as the widest."""
        tensors = load_file(shared_data.lora(f"sd15-{name}.safetensors"))
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor for key, tensor in tensors.items() if is_one_of_a_kind(module_of(key))}, path)
        return path

    chosen = recipe(tmp_path, merge, one_of_a_kind) if combination_type == "ties_svd" else recipe(tmp_path, merge)
    result = run(chosen, out=tmp_path / "out", device="cpu")
    ranks = {pair.rank for _, _, pair in result.merged}
    assert len(ranks) > 1
    assert max(ranks) <= 10
    again = load_adapter(str(result.artifact / "kohya" / "three-styles.safetensors"), base)
    assert truth.relative_error(deltas_of(again), deltas_of(result.merged)) <= 1e-6
