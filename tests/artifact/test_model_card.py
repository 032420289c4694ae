"""A card that two write: what is ours in it, and what stays its owner's."""

import hashlib

import pytest
import yaml

from loramerge.artifact.model_card import is_as_written, merged, ours_in, written
from loramerge.documents import yaml_document

FRONT = "license: mit\ntags:\n- lora\n- diffusers\nwidget:\n- text: a > b --> c & d\n"
OURS = written(FRONT, "# two\n\nWhat it is. <!-- loramerge 0123456789abcdef: end -->")
NEW = written("license: mit\ntags:\n- lora\n- sdxl\ninstance_prompt: ink\n", "# two\n\nWhat it is now.")
DIGEST = hashlib.sha256(OURS.encode()).hexdigest()
EDITED = (
    OURS.replace("license: mit\n", "# mine\nlanguage: en # theirs\nlicense: mit\n", 1)
    .replace("- diffusers\n", "- diffusers\n- anime\n", 1)
    .replace("\n<!-- loramerge", "\nAbove.\n\n<!-- loramerge", 1)
    + "\nBelow.\n"
)


def front(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_what_we_wrote_is_told_from_what_its_owner_wrote():
    assert ours_in(OURS) == ours_in(EDITED) == ours_in(EDITED.replace("\n", "\r\n")) == OURS
    assert is_as_written(OURS.encode(), DIGEST)
    assert is_as_written(EDITED.encode(), DIGEST)


@pytest.mark.parametrize(
    "edited",
    [
        EDITED.replace("What it is.", "What it is not."),
        EDITED.replace("license: mit\n", "license: other\n", 1),
        EDITED.replace("- diffusers\n", "", 1),
        EDITED.replace("license: mit\n", "license: mit\nlicense: other\n", 1),
        EDITED.replace("---\n", "", 2),
        OURS.replace(OURS[-40:], ""),
        "",
        "---\n[\n---\n" + OURS.split("---\n", 2)[2],
    ],
)
def test_a_change_of_what_is_ours_is_one(edited):
    assert edited not in {OURS, EDITED}
    assert not is_as_written(edited.encode(), DIGEST)
    assert not is_as_written(b"\xff" + edited.encode(), DIGEST)


def test_the_next_card_keeps_what_its_owner_wrote():
    card = merged(NEW, EDITED)
    assert ours_in(card) == NEW
    assert "language: en # theirs\n" in card
    assert front(card) == {
        "language": "en", "license": "mit", "tags": ["lora", "sdxl", "anime"], "instance_prompt": "ink",
    }  # fmt: skip
    assert card.index("Above.") < card.index("What it is now.") < card.index("Below.")
    assert "What it is. " not in card
    assert merged(NEW, card) == card


def test_a_tag_of_its_owner_stays_text():
    """The Hub reads YAML 1.2, where 1e3 and 08 are numbers, as they are not for PyYAML."""
    card = merged(NEW, EDITED.replace("- anime\n", "- '08'\n- '1e3'\n- \"on\"\n"))
    assert yaml_document.load(card.split("---\n")[1], origin="").data["tags"] == ["lora", "sdxl", "08", "1e3", "on"]


def test_without_an_owner_s_word_it_is_ours_alone():
    assert merged(NEW, OURS) == NEW
    assert merged(OURS, OURS) == OURS
    assert merged(NEW, "---\nlicense: other\n---\n") == NEW


def test_a_card_without_marks_stays_above_ours():
    card = merged(NEW, "---\nlanguage: en\n---\n# mine\n\nWords.\n")
    assert ours_in(card) == NEW
    assert front(card)["language"] == "en"
    assert card.index("Words.") < card.index("What it is now.")
    assert merged(NEW, "just words\n").index("just words") < merged(NEW, "just words\n").index("What it is now.")


def test_a_card_of_ours_without_marks_is_taken_as_it_is():
    assert merged("plain", EDITED) == "plain"
    assert ours_in("plain") is None


def test_a_card_that_would_take_forever_does_not():
    mark = "<!-- loramerge 0123456789abcdef: every\n-->\n\n"
    assert ours_in(mark * 20_000) is None
    assert ours_in(OURS + "x" * (1 << 20)) is None


@pytest.mark.parametrize("number", [f"0x{'f' * 20_000}", f"[0b{'1' * 20_000}]"], ids=["key", "list"])
def test_a_number_that_can_not_be_written_is_no_card(number):
    ours = written("tags: [lora]\n", "ours")
    assert merged(ours, f"---\ntags: {number}\n---\n") == ours
    assert merged(ours, f"---\n? {number}\n: a\n---\n") == ours
