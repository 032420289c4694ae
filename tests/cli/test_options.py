"""Where something goes: what names no place on this machine is wrong usage, and nothing is made."""

import pytest
from command_line import invoke, listing

from loramerge.errors import ExitCode

FOLDERS = ("run x.yaml --out", "plan x.yaml --out", "preview x.yaml --out",
           "grid x.yaml --set loras.0.weight=1,2 --out", "publish x.yaml --artifact", "schema --write")  # fmt: skip
PLACES = (*FOLDERS, "init a.safetensors -o", "merge a.safetensors -o", "resize a.safetensors --rank 2 -o")


def refused(line, place, here):
    before = listing(here)
    result = invoke(*line.split(), place)
    assert result.exit_code == ExitCode.USAGE, result.output
    assert listing(here) == before
    return result.stderr


@pytest.mark.parametrize("line", PLACES)
@pytest.mark.parametrize("address", ["hf://me/merged", "https://host/merged.safetensors", "s3://bucket/x.yaml"])
def test_an_address_is_no_place_on_this_machine(line, address, here):
    said = refused(line, address, here)
    assert f"{address} is an address, and this is a place on this machine; a recipe's `publish:`" in said


@pytest.mark.parametrize("line", PLACES)
def test_an_empty_place_means_no_default(line, here):
    assert "it is empty; name a f" in refused(line, "", here)


@pytest.mark.parametrize("line", FOLDERS)
def test_what_is_a_folder_is_not_printed(line, here):
    assert "this can't be printed; name a folder" in refused(line, "-", here)


@pytest.mark.parametrize("line", FOLDERS)
def test_a_folder_is_not_called_like_a_file(line, here):
    said = refused(line, "ink.safetensors", here)
    assert "ink.safetensors would be a folder, and is called like a LoRA's file" in said
    assert "`loramerge merge … -o NAME.safetensors` writes a single file" in said
