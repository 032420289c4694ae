"""The same merges on CUDA; skipped where there is none."""

import foreign
import pytest
import tiny
import torch
import truth
from canonical import adapter_of, base_of, deltas_of
from command_line import write_recipe
from drawn import far, recipe_of
from pydantic import TypeAdapter
from safetensors.torch import load_file

from loramerge import WeightedAdapter, combine, preview, read_recipe, run
from loramerge.methods import Merge
from loramerge.previews.out_of_memory import MemoryShortageError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize(
    ("combination_type", "parameters"),
    [
        ("cat", {}),
        ("svd", {}),
        ("linear", {}),
        ("ties", {"density": 0.5}),
        ("ties_svd", {"density": 0.5}),
        ("magnitude_prune", {"density": 0.5}),
        ("magnitude_prune_svd", {"density": 0.5}),
    ],
)
def test_what_draws_no_numbers_is_the_same_as_on_the_cpu(combination_type, parameters):
    pairs = [foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=seed, conv_rank=3) for seed in range(2)]
    loras = [WeightedAdapter(str(number), adapter_of(lora), 0.5) for number, lora in enumerate(pairs)]
    method = TypeAdapter(Merge).validate_python({"combination_type": combination_type, **parameters})
    cpu, cuda = (combine(loras, base_of("sdxl"), method, device=device) for device in ("cpu", "cuda"))
    assert cuda.device == "cuda"
    assert all(pair.down.device.type == "cpu" for _, _, pair in cuda.adapter)
    assert truth.relative_error(deltas_of(cuda.adapter), deltas_of(cpu.adapter)) <= 1e-5


@pytest.mark.parametrize("combination_type", ["dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd"])
def test_what_draws_numbers_draws_the_same_ones_again(combination_type):
    pairs = [foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=seed) for seed in range(2)]
    loras = [WeightedAdapter(str(number), adapter_of(lora), 0.5) for number, lora in enumerate(pairs)]
    method = TypeAdapter(Merge).validate_python({"combination_type": combination_type, "density": 0.5, "seed": 1})
    once, again = (combine(loras, base_of("sdxl"), method, device="cuda") for _ in range(2))
    assert truth.relative_error(deltas_of(once.adapter), deltas_of(again.adapter)) == 0


@pytest.mark.parametrize(
    ("combination_type", "parameters"),
    [
        ("cat", {}),
        ("svd", {"svd_rank": "sum"}),
        ("linear", {}),
        ("ties", {"density": 0.5}),
        ("ties_svd", {"density": 0.5}),
        ("dare_linear", {"density": 0.5, "seed": 1}),
        ("dare_ties", {"density": 0.5, "seed": 1}),
        ("dare_linear_svd", {"density": 0.5, "seed": 1}),
        ("dare_ties_svd", {"density": 0.05, "seed": 1}),
        ("magnitude_prune", {"density": 0.5}),
        ("magnitude_prune_svd", {"density": 0.5, "svd_rank": {"energy": 0.9, "max": 4}}),
    ],
)
def test_the_factored_engine_gives_on_cuda_what_it_gives_on_the_cpu(combination_type, parameters):
    pairs = [foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=seed, conv_rank=4) for seed in range(2)]
    loras = [WeightedAdapter(str(number), adapter_of(lora), 0.5) for number, lora in enumerate(pairs)]
    method = TypeAdapter(Merge).validate_python(
        {"combination_type": combination_type, "engine": "factored", **parameters}
    )
    cpu, cuda = (combine(loras, base_of("sdxl"), method, device=device) for device in ("cpu", "cuda"))
    assert all(pair.down.device.type == "cpu" for _, _, pair in cuda.adapter)
    assert truth.relative_error(deltas_of(cuda.adapter), deltas_of(cpu.adapter)) <= 1e-5


@pytest.mark.parametrize("engine", ["peft", "factored"])
def test_what_is_fused_after_a_merge_on_cuda_is_what_is_fused_on_the_cpu(engine, tmp_path):
    pairs = [foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=seed) for seed in range(2)]
    loras = {f"lora{number}": tmp_path / f"{number}.safetensors" for number in range(2)}
    for lora, path in zip(pairs, loras.values(), strict=True):
        foreign.write_diffusers(lora, path)
    recipe = read_recipe(
        write_recipe(
            tmp_path,
            base=tiny.folder("sdxl"),
            loras=loras,
            merge={"combination_type": "svd", "engine": engine, "svd_rank": "sum"},
            outputs=[{"kind": "model", "dtype": "float32"}],
        )
    )
    weights = "model/unet/diffusion_pytorch_model.safetensors"
    cpu, cuda = (
        load_file(run(recipe, out=tmp_path / device, device=device).artifact / weights) for device in ("cpu", "cuda")
    )
    assert cpu.keys() == cuda.keys()
    for name, tensor in cpu.items():
        torch.testing.assert_close(cuda[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pictures_are_the_same_wherever_the_base_waits(tmp_path):
    recipe = recipe_of(tmp_path, "sdxl")
    full, offload, again, cpu = (
        preview(
            read_recipe(recipe, overrides=[f"preview.memory={memory}", "preview.batch_size=2"]),
            out=tmp_path / f"{number}",
            device=device,
        )
        for number, (memory, device) in enumerate(
            [("full", "cuda"), ("offload", "cuda"), ("full", "cuda"), ("full", "cpu")]
        )
    )
    for one, two, same, other in zip(full.pictures, offload.pictures, again.pictures, cpu.pictures, strict=True):
        assert one.read_bytes() == two.read_bytes() == same.read_bytes()
        assert far(one, other) < 64  # float16 there, float32 here


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_compiled_pictures_are_the_same_but_for_rounding(tmp_path):
    recipe = recipe_of(tmp_path, preview={"seeds": [0]})
    plain, compiled = (
        preview(read_recipe(recipe, overrides=[f"preview.compile={value}"]), out=tmp_path / value, device="cuda")
        for value in ("false", "true")
    )
    for one, other in zip(plain.pictures, compiled.pictures, strict=True):
        assert far(one, other) <= 8


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_too_little_memory_on_the_gpu_is_named(tmp_path):
    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    try:
        recipe = read_recipe(recipe_of(tmp_path, preview={"width": 8192, "height": 8192}))
        with pytest.raises(MemoryShortageError, match="not enough memory on the CUDA device") as caught:
            preview(recipe, out=tmp_path / "out", device="cuda")
        assert "set preview.memory: offload" in caught.value.hint
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
