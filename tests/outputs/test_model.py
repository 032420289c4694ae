"""`kind: model`: the base with the merge fused in, in the base's own layout."""

import shutil

import foreign
import pytest
import tiny
from canonical import adapter_of, files_of

from loramerge.bases.base import read_base
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import LoramergeError
from loramerge.outputs import ModelOutput, PipelineOutput
from loramerge.outputs.fuse import fuse


def test_it_is_what_pipeline_was_to_the_byte(tmp_path):
    source = tiny.folder("sd15")
    adapter = adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3))
    files = PipelineFiles(source, tuple(files_of(source)), None)
    for output in (ModelOutput(kind="model"), PipelineOutput(kind="pipeline")):
        (tmp_path / output.folder).mkdir()
        fuse(files, read_base("base", source), adapter, output, tmp_path / output.folder)
    written = files_of(tmp_path / "model")
    assert {*written} == {*files_of(tmp_path / "pipeline")}
    for name in written:
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "pipeline" / name).read_bytes()


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    source = tiny.folder("sd15")
    adapter = adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3))
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("loramerge.files.writing.shutil.disk_usage", lambda _: full)
    files = PipelineFiles(source, tuple(files_of(source)), None)
    with pytest.raises(LoramergeError, match=r"the disk has room for 0\.0 GB"):
        fuse(files, read_base("base", source), adapter, ModelOutput(kind="model"), tmp_path)
    assert not [*tmp_path.iterdir()]
