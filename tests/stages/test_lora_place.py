"""What may be replaced where a LoRA goes that has no artifact around it."""

from pathlib import Path

import pytest

from loramerge.errors import LoramergeError
from loramerge.stages.lora_place import check_lora_place

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def folder(place, *names):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")
    return place


def refused(place, *, force=True):
    with pytest.raises(LoramergeError) as caught:
        check_lora_place(place, force=force)
    return caught.value.message


@pytest.mark.parametrize(
    "names",
    [
        ADAPTER,
        [f"{part}/{name}" for part in ("unet", "text_encoder") for name in ADAPTER],
        [*ADAPTER, "embeddings/ink.safetensors"],
    ],
)
def test_a_folder_with_one_lora_is_replaced_by_wish(names, tmp_path):
    place = folder(tmp_path / "ink", *names)
    check_lora_place(place, force=True)
    assert refused(place, force=False) == f"{place} exists"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"{each}/{name}" for each in ("code", "chat") for name in ADAPTER], "holds several LoRAs: "),
        ([*ADAPTER, *(f"code/{name}" for name in ADAPTER)], "is a folder with code/adapter_config.json, code/adapter"),
        ([*ADAPTER, "backup_adapter_model.safetensors"], "backup_adapter_model.safetensors"),
        ([*ADAPTER, "embeddings/notes.txt"], "is a folder with embeddings/notes.txt"),
        ([*ADAPTER, "README.md"], "is a folder with README.md"),
        (["ink.safetensors"], "is a folder with ink.safetensors"),
    ],
)
def test_a_folder_with_more_is_not(names, said, tmp_path):
    assert said in refused(folder(tmp_path / "loras", *names))


def test_nor_is_the_current_folder_or_one_around_it(tmp_path, monkeypatch):
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    for place in (Path(), Path(), Path(".."), Path("../../work"), Path.cwd()):
        assert refused(place).endswith("is no folder of its own, and a LoRA replaces its folder")
    check_lora_place(Path("../other"), force=False)
