from loramerge.errors import LoramergeError
from loramerge.messages import any_of, bounded, counted, excerpt


def test_an_excerpt_is_one_line():
    assert excerpt("a\n b\t c") == "a b c"
    assert excerpt("x" * 200, 10) == "x" * 9 + "…"


def test_one_is_no_plural():
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]


def test_one_of_several():
    assert [any_of("abc"[:number]) for number in range(4)] == ["", "a", "a or b", "a, b or c"]


def test_what_is_quoted_does_not_fill_the_screen():
    long = f"{'x' * 100_000}: can't be read"
    error = LoramergeError(long, hint=f"a {'y ' * 50_000}")
    assert error.message.startswith("xxx")
    assert error.message.endswith("xxx: can't be read")
    assert "…" in error.message
    assert len(str(error)) < 2000
    assert bounded("of ordinary length") == "of ordinary length"
    assert bounded("\n".join(["a line"] * 1000)) == "\n".join(["a line"] * 1000)
