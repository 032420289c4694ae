"""`kind: model`: the base with the merge fused in, in the base's own layout."""

import shutil

import foreign
import pytest
import tiny
from canonical import adapter_of, files_of, fuse

from loramerge.bases.base import read_base, unknown_model
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import LoramergeError, MismatchError
from loramerge.outputs import ModelOutput, PipelineOutput


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


def with_scheduler(tmp_path, **scheduler):
    source = tiny.folder("sd15")
    adapter = adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3))
    files = PipelineFiles(source, tuple(files_of(source)), None)
    output = ModelOutput.model_validate({"kind": "model", "scheduler": scheduler})
    output.check(read_base("base", source), ["unet"])
    (tmp_path / "model").mkdir()
    fuse(files, read_base("base", source), adapter, output, tmp_path / "model")
    return tmp_path / "model"


def test_a_scheduler_takes_over_what_diffusers_lets_it_take_over(tmp_path):
    from diffusers import DiffusionPipeline, LCMScheduler

    folder = with_scheduler(tmp_path, **{"class": "LCMScheduler", "settings": {"original_inference_steps": 40}})
    have = DiffusionPipeline.from_pretrained(folder).scheduler
    base = DiffusionPipeline.from_pretrained(tiny.folder("sd15")).scheduler
    want = LCMScheduler.from_config(base.config, original_inference_steps=40)
    assert type(have) is LCMScheduler
    hidden = ("_class_name", "_diffusers_version", "_use_default_values")
    assert {key: value for key, value in have.config.items() if key not in hidden} == {
        key: value for key, value in want.config.items() if key in have.config and key not in hidden
    }
    assert have.config.original_inference_steps == 40
    assert have.config.beta_schedule == base.config.beta_schedule != "linear"


@pytest.mark.parametrize(
    ("scheduler", "match", "hint"),
    [
        ({"class": "LCNScheduler"}, "has no LCNScheduler", "did you mean LCMScheduler?"),
        (
            {"class": "LCMScheduler", "settings": {"beta_strat": 1}},
            "has no setting beta_strat",
            "did you mean beta_start?",
        ),
    ],
)
def test_a_scheduler_that_diffusers_does_not_know_is_refused(scheduler, match, hint, tmp_path):
    with pytest.raises(MismatchError, match=match) as caught:
        with_scheduler(tmp_path, **scheduler)
    assert caught.value.hint == hint
    assert not [*tmp_path.iterdir()]
    older = PipelineOutput.model_validate({"kind": "pipeline", "scheduler": scheduler})
    with pytest.raises(MismatchError, match=match):
        older.check(read_base("base", tiny.folder("sd15")), ["unet"])


def test_a_pipeline_without_a_scheduler_is_refused_before_anything_is_merged(tmp_path):
    shutil.copytree(tiny.folder("sd15"), tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "scheduler")
    output = ModelOutput.model_validate({"kind": "model", "scheduler": {"class": "LCMScheduler"}})
    with pytest.raises(MismatchError, match="has no scheduler that could be replaced"):
        output.check(read_base("base", tmp_path / "base"), ["unet"])


def test_what_is_no_pipeline_has_no_scheduler():
    output = ModelOutput.model_validate({"kind": "model", "scheduler": {"class": "LCMScheduler"}})
    with pytest.raises(MismatchError, match="has no scheduler that could be replaced"):
        output.check(unknown_model(), ["model"])
