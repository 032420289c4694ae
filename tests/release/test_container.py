"""What the Containerfile says. `make image` builds an image where there is a builder, and runs the quickstart in it."""

from __future__ import annotations

import re
from fnmatch import fnmatch

from command_line import ROOT

TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*)$", re.sub(r"\\\n\s*", "", TEXT), re.MULTILINE)


def said(instruction):
    return [arguments for name, arguments in INSTRUCTIONS if name == instruction]


def test_its_base_is_named_with_a_tag():
    (base, *_) = said("ARG")
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.\d+-slim-\w+", base)
    assert {each.split()[0] for each in said("FROM")} == {"${BASE}"}


def test_it_runs_as_nobody_in_particular():
    assert said("USER") == ["1000:1000"]
    assert said("ENTRYPOINT") == ['["loramerge"]']
    assert said("VOLUME") == ["/cache"]
    assert said("STOPSIGNAL") == ["SIGINT"]


def test_everything_is_installed_in_the_tested_versions():
    (installs,) = (each for each in said("RUN") if "*.whl" in each)
    assert "--constraint constraints.txt" in installs
    assert all("--constraint constraints.txt" in each for each in said("RUN") if "pip install" in each)


def test_it_takes_what_it_needs_and_nothing_else():
    """The last pattern that fits decides, as the builders have it."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]

    def is_taken(name):
        taken = True
        for pattern in patterns:
            bare = pattern.removeprefix("!")
            if fnmatch(name, bare) or name.startswith(f"{bare}/"):
                taken = pattern.startswith("!")
        return taken

    copied = [each.split()[:-1] for each in said("COPY") if not each.startswith("--from")]
    wanted = ["constraints.txt", "build/package/*.whl", "recipes/quickstart.yaml", "recipes/quickstart"]
    assert [name for names in copied for name in names] == wanted
    assert all(is_taken(name.replace("*", "loramerge")) for name in wanted)
    for name in (
        ".git/config",
        ".env",
        "recipes/quickstart/train/__main__.py",
        "loramerge/cli/run.py",
        "dist/quickstart",
    ):
        assert not is_taken(name), name
