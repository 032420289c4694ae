"""The published sizes that are committed, against what diffusers builds."""

import pytest
from families.write_sizes import layers, others, text_of

from loramerge.families import FAMILIES
from loramerge.families.sizes import FOLDER, OTHERS

PUBLISHED = [name for name, family in FAMILIES.items() if family.published]


@pytest.mark.slow
@pytest.mark.parametrize("family", PUBLISHED)
def test_sizes_are_what_diffusers_builds(family):
    for folder, chosen in ((FOLDER, layers), (OTHERS, others)):
        assert (folder / f"{family}.json").read_text(encoding="utf-8") == text_of(FAMILIES[family], chosen)


@pytest.mark.parametrize("folder", [FOLDER, OTHERS])
def test_no_file_is_left_of_a_family_that_is_gone(folder):
    assert {path.stem for path in folder.glob("*.json")} == {*PUBLISHED}
