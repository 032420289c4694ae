"""Language, encoder, speech and vision models of transformers: what their classes are for, told by their names.

Each has its layers' names from its own code, so there is nothing to be said of it but how it is loaded.
"""

from __future__ import annotations

import re

from loramerge.families.family import Card, Family

TRANSFORMERS_COMPONENT = "model"
"""The one component of a model of transformers."""
# The end of a class's name → the Hub's task, and the class of transformers that loads any model for it. The first row
# that fits counts.
_TEXT_TO_TEXT = (
    r"(MT5|UMT5|(?<![A-Z])T5|Bart|MBart|Pegasus|LED|M2M100|Blenderbot|ProphetNet)\w*ForConditionalGeneration"
)
_SEEING = r"(VL|Llava|Gemma3|Gemma4|PaliGemma|Idefics|InternVL|Mllama|Mistral3|SmolVLM)\w*ForConditionalGeneration"
_HEARING = r"(Audio|Hubert|SEWD?|UniSpeech(Sat)?|Wav2Vec2\w*|WavLM)ForSequenceClassification"
# Classes that are called after a task and loaded by another class than the rest: they load themselves.
_OTHERS = (
    r"Flaubert\w*|Mistral4\w*|(Blip|LayoutLM|Tapas|Vilt)ForQuestionAnswering|"
    r"(GroundingDino|OmDetTurbo|OwlViT|Owlv2)ForObjectDetection"
)
_TASKS: tuple[tuple[str, str, str], ...] = (
    (_OTHERS, "", ""),
    (_HEARING, "audio-classification", "AutoModelForAudioClassification"),
    (r"(ForCausalLM|LMHeadModel)", "text-generation", "AutoModelForCausalLM"),
    (r"ForSequenceClassification", "text-classification", "AutoModelForSequenceClassification"),
    (r"ForTokenClassification", "token-classification", "AutoModelForTokenClassification"),
    (r"ForQuestionAnswering", "question-answering", "AutoModelForQuestionAnswering"),
    (r"ForMaskedLM", "fill-mask", "AutoModelForMaskedLM"),
    (r"ForMultipleChoice", "multiple-choice", "AutoModelForMultipleChoice"),
    (r"ForCTC", "automatic-speech-recognition", "AutoModelForCTC"),
    (r"(Whisper|Speech2Text|Moonshine)ForConditionalGeneration", "automatic-speech-recognition",
     "AutoModelForSpeechSeq2Seq"),
    (r"ForAudioClassification", "audio-classification", "AutoModelForAudioClassification"),
    (r"ForImageClassification", "image-classification", "AutoModelForImageClassification"),
    (r"ForObjectDetection", "object-detection", "AutoModelForObjectDetection"),
    (r"ForSemanticSegmentation", "image-segmentation", "AutoModelForSemanticSegmentation"),
    (r"ForDepthEstimation", "depth-estimation", "AutoModelForDepthEstimation"),
    (r"ForVideoClassification", "video-classification", "AutoModelForVideoClassification"),
    (r"Sam2?Model", "mask-generation", "AutoModelForMaskGeneration"),
    (_TEXT_TO_TEXT, "text2text-generation", "AutoModelForSeq2SeqLM"),
    (_SEEING, "image-text-to-text", "AutoModelForImageTextToText"),
)  # fmt: skip


def model_family(class_name: str) -> Family:
    """What is known of a model by its class.

    Args:
        class_name: Of transformers, as the config's `architectures` names it.
    """
    task, loader = _task(class_name)
    card = Card(pipeline_tag=task, library="peft", opens=loader or class_name, loads="nothing")
    return Family(
        name=class_name, title=class_name, classes=(class_name,), denoisers=(TRANSFORMERS_COMPONENT,), card=card
    )


def _task(class_name: str) -> tuple[str, str]:
    found = (row for row in _TASKS if re.search(rf"({row[0]})$", class_name))
    return next(((task, loader) for _, task, loader in found), ("", ""))
