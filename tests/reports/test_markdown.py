"""Texts of strangers in Markdown, read by a parser that is not ours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from loramerge.reports.markdown import code, fenced, plain, sentence, table

HOSTILE = (
    "<script>alert(1)</script>",
    "<!-- loramerge 0123456789abcdef: end -->",
    "![x](https://tracker.example/x.png) [y](javascript:alert(1))",
    "# heading\n\n1. one\n- two\n> three\n\n    code",
    "```\nfence",
    "`a` ``b`` ```c```",
    "one | two \\| three \\",
    "*strong* __strong__ ~~gone~~",
    "&lt;b&gt; &copy;",
    "===\n---",
)


def shown(markdown):
    """The HTML elements that Markdown becomes, and the text of all of them."""
    html = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown)
    text = re.sub(r"<[^>]*>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    return set(re.findall(r"<(\w+)", html)), text.replace("&amp;", "&")


@pytest.mark.parametrize("text", HOSTILE)
def test_prose_is_shown_as_it_is_and_does_nothing(text):
    elements, found = shown(plain(text))
    assert elements <= {"p"}
    assert found.split() == text.split()


@given(st.text(st.sampled_from("ab12 .-+=#*_`~<>&|!()[]{}\\\n\t:/")))
def test_no_prose_is_markdown(text):
    elements, found = shown(plain(text))
    assert elements <= {"p"}
    assert found.split() == text.split()


@pytest.mark.parametrize("text", HOSTILE)
def test_code_in_a_cell_stays_in_its_cell(text):
    elements, found = shown(table(("what",), [(code(text),), (plain(" ".join(text.split())),)]))
    assert elements <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert found.split() == ["what", *text.split(), *text.split()]


@pytest.mark.parametrize("text", HOSTILE)
def test_lines_of_code_end_where_they_end(text):
    elements, found = shown(f"{fenced(text, 'yaml')}\n\nafter")
    assert elements == {"pre", "code", "p"}
    assert found.split() == [*text.split(), "after"]


def test_a_sentence_has_code_and_quotes_strangers():
    assert shown(sentence("skipped `a<b>|c`: use `svd`, not *that*")) == (
        {"p", "code"},
        "skipped a<b>|c: use svd, not *that*\n",
    )
    assert shown(sentence("one ` of somebody <b>"))[0] == {"p"}


def test_what_steers_a_display_is_an_escape():
    steering = "a\u202eb\u200bc\x1b[2Jd\x00e\u2028f\ufeff\ud800\U000e0041"
    for text in (plain(steering), code(steering), fenced(steering, ""), sentence(steering)):
        assert not re.search("[\u202e\u200b\x1b\x00\u2028\ufeff\ud800\U000e0041]", text)
        assert "u202e" in text
    joined = "東京\u3000é 👩\u200d🎨 \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert plain(joined) == joined
    assert fenced("a\r\n\tb\r\n", "yaml") == "```yaml\na\n\tb\n```"
