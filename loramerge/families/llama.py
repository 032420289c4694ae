"""Language models as text encoders: what ComfyUI calls the layers of each (comfy/text_encoders/llama.py).

It has the names of a whole language model, where pipelines of diffusers hold its inner model alone, and of one that
sees pictures those from before transformers 5.
"""

from loramerge.families.layout import rules

INNER_MODEL = rules({"model.layers.*": "layers.*"})
WITH_PICTURES = rules({"model.layers.*": "model.language_model.layers.*", "visual": "model.visual"})
