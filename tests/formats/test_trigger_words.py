"""What metadata say to put into a prompt."""

import json

import pytest

from loramerge.formats.trigger_words import phrases, tag_frequency, trigger_phrases

DIRS = {"10_ink": {"n_repeats": 10, "img_count": 20}, "5_fox": {"n_repeats": 5, "img_count": 40}}


def kohya(tags, dirs=DIRS):
    return {"ss_tag_frequency": json.dumps(tags), "ss_dataset_dirs": json.dumps(dirs)}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"modelspec.trigger_phrase": " in  ink "}, ("in ink",)),
        ({"trigger_words": '["ink", "by Feng", "ink"]'}, ("ink", "by Feng")),
        ({"trigger_words": "[ink]"}, ("[ink]",)),
        ({"instance_prompt": "a photo of sks dog"}, ("a photo of sks dog",)),
        ({"modelspec.trigger_phrase": "None", "trigger_words": "ink"}, ("ink",)),
        ({"modelspec.trigger_phrase": "ink", **kohya({"10_ink": {"fox": 20}})}, ("ink",)),
        (kohya({"10_ink": {"ink": 20, "solo ": 19, "fox": 18}, "5_fox": {"fox": 40}}), ("ink", "solo", "fox")),
        (kohya({"10_ink": {"ink": 17}}), ()),
        (kohya({"10_ink": {"ink": 17, "fox": 3}}, dirs={}), ("ink",)),
        (kohya({"10_ink": {"a sentence": 1, "another": 1}}, dirs={}), ()),
        (kohya({"10_ink": {"ink": 20}}, dirs=[1]), ("ink",)),
        ({"ss_tag_frequency": "nonsense"}, ()),
        ({}, ()),
    ],
)
def test_trigger_words(metadata, expected):
    assert trigger_phrases(metadata) == expected


def test_what_nobody_sees_is_seen():
    assert phrases("ink\u202e\x07") == ("ink\\u202e\\u0007",)
    assert phrases([1, None, "a\nb", ""]) == ("a b",)


def test_half_a_character_can_be_written():
    found = tag_frequency("x", {"ss_tag_frequency": '{"d": {"ink\\ud800": 3}}'})
    assert found == {"d": {"ink?": 3}}
    json.dumps(found, ensure_ascii=False).encode()
