import pytest

from loramerge.cli import console


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (73_608, "73.6 kB"),
        (999_960, "1.0 MB"),
        (6_938_040_682, "6.9 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes(count, shown):
    assert console.size(count) == shown


def test_a_table():
    assert console.table([("a", "bb", ""), ("ccc", "d", "e")]) == "  a    bb\n  ccc  d   e"
