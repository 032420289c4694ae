"""What is said of a model of transformers by its class, against transformers' own tables."""

import pytest

from loramerge.families import model_family


def loading_class(name):
    return model_family(name).card.opens


def tables():
    """Class of transformers that loads models for a task → the classes that it loads."""
    from transformers.models.auto import modeling_auto

    return {
        name: {each for found in getattr(modeling_auto, name)._model_mapping._model_mapping.values()
               for each in ([found] if isinstance(found, str) else found)}
        for name in dir(modeling_auto)
        if name.startswith("AutoModel") and hasattr(getattr(modeling_auto, name), "_model_mapping")
        and hasattr(getattr(modeling_auto, name)._model_mapping, "_model_mapping")
    }  # fmt: skip


def test_every_model_is_loaded_by_a_class_that_loads_it():
    known = tables()
    every = set().union(*known.values())
    assert len(every) > 500
    wrong = {each: loading_class(each) for each in every
             if loading_class(each) != each and each not in known[loading_class(each)]}  # fmt: skip
    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("LlamaForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
        ("BertForSequenceClassification", "text-classification"),
        ("BertForMaskedLM", "fill-mask"),
        ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
        ("Wav2Vec2ForCTC", "automatic-speech-recognition"),
        ("ViTForImageClassification", "image-classification"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("Qwen2_5_VLForConditionalGeneration", "image-text-to-text"),
        ("SamModel", "mask-generation"),
        ("BertModel", ""),
        ("SomethingOfSomebody", ""),
    ],
)
def test_the_task_is_told_by_the_class(name, task):
    family = model_family(name)
    assert (family.card.pipeline_tag, family.card.library, family.title) == (task, "peft", name)
