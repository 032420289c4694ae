"""What a study looks like."""

from __future__ import annotations

from matplotlib.figure import Figure
from PIL import Image

from loramerge.search import picture
from loramerge.search.judged import Judged
from loramerge.search.study import FinishedTrial

TRIALS = (
    FinishedTrial(0, {"merge.combination_type": "ties", "merge.density": 0.4, "loras.ink.weight": 0.5}, Judged(0.2)),
    FinishedTrial(1, {"merge.combination_type": "cat", "loras.ink.weight": 0.9}, Judged(0.8)),
    FinishedTrial(2, {"merge.combination_type": "cat", "loras.ink.weight": 0.7}, None, "can't be merged"),
    FinishedTrial(3, {"merge.combination_type": "cat", "loras.ink.weight": 0.3}, Judged(0.4)),
)
SCORED = [(each.number, each.values, each.judged.score) for each in TRIALS if each.judged]


def marked(key):
    """Where the best trial stands out among the values of a key."""
    axes = Figure().subplots()
    picture._slice(axes, key, SCORED)
    return [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_color() == picture._BEST]


def test_the_best_trial_stands_out_wherever_it_has_a_value():
    assert marked("loras.ink.weight") == [(0.9, 0.8)]
    ((_, score),) = marked("merge.combination_type")
    assert score == 0.8


def test_nothing_stands_out_where_the_best_trial_has_no_value():
    assert marked("merge.density") == []


def test_it_is_a_picture_that_says_what_it_is_of(tmp_path):
    keys = ["merge.combination_type", "merge.density", "loras.ink.weight"]
    picture.draw(tmp_path / "study.png", "ink-glow", "kept", TRIALS, keys)
    with Image.open(tmp_path / "study.png") as drawn:
        assert drawn.text["recipe"] == "ink-glow"
        assert drawn.size[0] > drawn.size[1] > 100
