"""What comes of a trial."""

from __future__ import annotations

import pytest

from loramerge.errors import MismatchError, SourceError
from loramerge.search.attempt import outcome_of


def failing(error):
    def trying(_):
        raise error

    return trying


def test_values_that_can_not_be_merged_are_an_outcome():
    assert outcome_of(failing(MismatchError("every LoRA weighs 0")), 3, {}).why == "every LoRA weighs 0"


def test_a_lora_that_can_not_be_read_any_more_is_none():
    with pytest.raises(SourceError, match="can't be read"):
        outcome_of(failing(SourceError("ink.safetensors can't be read: Input/output error")), 3, {})
