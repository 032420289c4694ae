"""What is to be said of a LoRA that was loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.families import title_of, told_by
from loramerge.formats.model_spec import base_prediction, prediction_said
from loramerge.formats.trigger_words import tag_frequency
from loramerge.messages import any_of, some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base
    from loramerge.bases.fit import Misfit


def notes_of(name: str, reference: str, adapter: Adapter, left_out: Sequence[Misfit], base: Base) -> Iterator[str]:
    """What is to be said of a LoRA that was read.

    Args:
        name: The recipe's.
        reference: Its source.
        adapter: As read.
        left_out: What of it does not fit the base.
        base: What it is merged for.
    """
    yield from (f"LoRA {name}: {note}" for note in adapter.notes)
    if left_out:
        yield f"LoRA {name}: {len(left_out)} of {len(adapter)} modules skipped: {some(map(str, left_out))}"
    families = told_by(adapter.metadata)
    if families and base.family.name not in families:
        yield (
            f"LoRA {name} says that it is for {any_of([*map(title_of, families)])}, and the base is "
            f"{base.family.title}; by names and shapes {'the rest' if left_out else 'it'} fits that as well"
        )
    said, known = prediction_said(adapter.metadata), base_prediction(base)
    if said and known and said != known:
        yield (
            f"LoRA {name}: its model predicts {said}, by its metadata, and the base {known}; what is written says "
            f"{known}, and such a LoRA may do little good there"
        )
    try:
        tag_frequency(reference, adapter.metadata)
    except SourceError as error:
        yield f"{error.message}; its training tags are left out"
