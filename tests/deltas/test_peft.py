"""LoHa and LoKr as PEFT saves them, against what PEFT itself merges."""

from __future__ import annotations

import pytest
import small_models
import torch
from canonical import read
from peft import LoHaConfig, LoKrConfig, get_peft_model
from truth import relative_error

from loramerge import load_base
from loramerge.errors import SourceError

LLAMA = "LlamaForCausalLM"
CONFIGS = {
    "LoHa": LoHaConfig(r=3, alpha=6, target_modules=["q_proj", "v_proj", "down_proj"]),
    "LoHa, by pattern": LoHaConfig(r=2, alpha=5, target_modules=["q_proj", "v_proj"],
                                   rank_pattern={"v_proj": 3}, alpha_pattern={"v_proj": 4}),
    "LoKr": LoKrConfig(r=2, alpha=5, target_modules=["q_proj", "v_proj"]),
    "LoKr, both factored": LoKrConfig(r=1, alpha=3, decompose_both=True, decompose_factor=4,
                                      target_modules=["q_proj", "down_proj"]),
    "LoKr, whole": LoKrConfig(r=64, alpha=32, target_modules=["q_proj", "v_proj"]),
}  # fmt: skip


def saved(folder, config):
    model = get_peft_model(small_models.built(LLAMA), config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "hada_" in name or "lokr_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", CONFIGS)
def test_the_delta_is_what_peft_merges(case, tmp_path):
    folder = saved(tmp_path / "adapter", CONFIGS[case])
    base = load_base(small_models.save(LLAMA, tmp_path / "base"))
    adapter = read(folder, base)
    merged = small_models.deltas(LLAMA, folder)
    found = {f"{module}.weight": pair.delta() for _, module, pair in adapter}
    assert {name for name, delta in merged.items() if delta.any()} == {*found}
    assert relative_error(found, {name: merged[name] for name in found}) <= 1e-6


def test_a_rank_that_the_settings_do_not_have_is_named(tmp_path):
    folder = saved(tmp_path / "adapter", CONFIGS["LoHa"])
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 3', '"r": 4'))
    base = load_base(small_models.save(LLAMA, tmp_path / "base"))
    with pytest.raises(SourceError, match=r"has rank 3, adapter_config\.json says 4"):
        read(folder, base)
