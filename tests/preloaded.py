"""What the process of `forked` imports before it forks: as a command would, but all at once."""

import gc
from importlib import import_module

from loramerge.cli import _prepare

_prepare([])

NAMES = {
    "torch": (),
    "peft": ("LoraConfig", "get_peft_model"),
    "diffusers": ("AutoPipelineForText2Image", "DDIMScheduler", "StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    "transformers": ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPTokenizer"),
    "huggingface_hub.hf_api": (),
    "loramerge.cli.run": (),
    "loramerge.cli.preview": (),
    "loramerge.stages.run": (),
    "loramerge.stages.preview": (),
}
for _module, _names in NAMES.items():
    for _name in _names or ("__name__",):
        getattr(import_module(_module), _name)

gc.collect()
gc.freeze()  # what is not looked at is not copied for a fork
