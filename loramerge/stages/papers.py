"""Stage: what an artifact says of itself: its recipe and lock, the card, the report, the provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.artifact.contents import CARD, LOCK, RECIPE, REPORT
from loramerge.artifact.in_toto import STATEMENT
from loramerge.files.digest import files_of, sha256_of
from loramerge.files.writing import writing
from loramerge.lock.model import text as lock_text
from loramerge.provenance.provenance import provenance
from loramerge.reports.card import model_card
from loramerge.reports.page import write_page
from loramerge.stages.artifact_previews import as_drawn

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe
    from loramerge.stages.combine import Combined
    from loramerge.stages.load import Loaded
    from loramerge.stages.write import Written


def write_papers(
    folder: Path, recipe: Recipe, loaded: Loaded, combined: Combined, written: Written, lock: Lock
) -> Mapping[str, Any]:
    """Write the recipe and its lock, the card, the report and the provenance beside the outputs.

    Args:
        folder: Has the outputs and the pictures; whoever made it puts it in its place when all is written.
        recipe: As it is.
        loaded: The inputs.
        combined: The merged LoRA, and the device on which it was computed.
        written: The outputs.
        lock: What the sources of the recipe were.

    Returns:
        What report.json says.

    Raises:
        LoramergeError: Something can't be written.
    """
    report = written.report
    with writing(folder):
        (folder / RECIPE).write_text(recipe.text, encoding="utf-8")
        (folder / LOCK).write_text(lock_text(lock), encoding="utf-8", newline="\n")
        cards = [card for card in lock.sources.cards.values() if card is not None]
        drawn = as_drawn(recipe, folder)
        card = model_card(
            drawn, report, licence=report["license"], trigger_phrases=written.trigger_phrases, cards=cards
        )
        (folder / CARD).write_text(card, encoding="utf-8")
        text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (folder / REPORT).write_text(text + "\n", encoding="utf-8")
        if recipe.report == "full":
            write_page(folder, recipe, report)
        files = {name: written.digests.get(name) or sha256_of(path) for name, path in files_of(folder).items()}
        statement = provenance(recipe, loaded, lock, files, device=combined.device, reference=combined.reference)
        (folder / STATEMENT).write_text(statement.text(), encoding="utf-8")
    return report
