from loramerge.messages import any_of, counted, excerpt


def test_an_excerpt_is_one_line():
    assert excerpt("a\n b\t c") == "a b c"
    assert excerpt("x" * 200, 10) == "x" * 9 + "…"


def test_one_is_no_plural():
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]


def test_one_of_several():
    assert [any_of("abc"[:number]) for number in range(4)] == ["", "a", "a or b", "a, b or c"]
