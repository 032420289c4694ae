"""The sdist and the wheel: what they hold, what they say of themselves, and that the same source is the same bytes."""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import tarfile
import zipfile

import pytest
import yaml
from command_line import ROOT
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from release.package import build, pins
from secrets_scan import on_purpose

pytestmark = pytest.mark.slow

LATER = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(package.sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    on_purpose(source / "tests")
    return source


@pytest.fixture(scope="module")
def wheel(package):
    with zipfile.ZipFile(package.wheel) as archive:
        yield archive


@pytest.fixture(scope="module")
def information(wheel):
    """A file of the wheel's .dist-info as text."""
    (folder,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    return lambda name: wheel.read(f"{folder}/{name}").decode()


@pytest.fixture(scope="module")
def metadata(information):
    return Metadata.from_email(information("METADATA"), validate=True)


def tracked():
    """Files of the repository as it is here; what git ignores is none of them."""
    if not (shutil.which("git") and (ROOT / ".git").exists()):
        pytest.skip("git says what belongs to the repository")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.mark.long
def test_the_same_source_is_the_same_bytes(package, unpacked, tmp_path):
    """Built again from the sdist: in another folder, time zone and order of sets, for others' eyes only."""
    before = os.umask(0o077)
    try:
        again = build(unpacked, tmp_path / "again", **LATER)
    finally:
        os.umask(before)
    assert again.wheel.name == package.wheel.name
    assert again.wheel.read_bytes() == package.wheel.read_bytes()
    assert again.sdist.read_bytes() == package.sdist.read_bytes()


def test_the_wheel_holds_the_package_and_nothing_else(wheel, information):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in tracked() if name.startswith("loramerge/")}
    assert {"loramerge/py.typed", "loramerge/reports/page/page.html", "loramerge/families/sizes/sdxl.json"} <= names
    assert information("licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_sdist_holds_what_git_has(unpacked):
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert names - {"PKG-INFO"} == {name for name in tracked() if not name.startswith(".ci/")}
    assert {"schemas/recipe.schema.json", "recipes/quickstart.yaml", "constraints.txt", "LICENSE"} <= names


def test_it_says_what_it_is(metadata, information):
    assert metadata.name == "loramerge"
    assert metadata.license_expression == "Apache-2.0"
    scripts = configparser.ConfigParser()
    scripts.read_string(information("entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"loramerge": "loramerge.cli:main"}
    assert email.message_from_string(information("WHEEL"))["Tag"] == "py3-none-any"


def test_it_is_for_the_pythons_that_are_tried(metadata):
    said = {each.rpartition(" ")[2] for each in metadata.classifiers if re.search(r"3\.\d+$", each)}
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(workflow)["jobs"]
    assert {python for job in ("make", "versions") for python in jobs[job]["strategy"]["matrix"]["python"]} == said
    assert all(metadata.requires_python.contains(python) for python in said)


def test_what_it_needs_is_pinned(metadata):
    held = pins()
    for need in metadata.requires_dist:
        (version,) = [each for name, each in held.items() if _same(name, need.name)]
        assert need.specifier.contains(version), need


def _same(one, other):
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def test_what_the_groups_need_is_pinned():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[dependency-groups]")[2].partition("\n[")[0]
    held = pins()
    needs = [Requirement(each) for each in re.findall(r'^    "([^"]+)"', text, re.MULTILINE)]
    assert len(needs) > 25
    for need in needs:
        (version,) = [each for name, each in held.items() if _same(name, need.name)]
        assert need.specifier.contains(version), need


def test_its_page_leads_to_the_repository_of_this_version(metadata):
    """Nothing lies beside the README there."""
    text = re.sub(r"```.*?```", "", metadata.description, flags=re.DOTALL)
    assert metadata.description_content_type.startswith("text/markdown")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 20
    source = metadata.project_urls["Source"].removeprefix("https://github.com/")
    beside = re.compile(
        rf"https://(?:github\.com/{source}/blob|raw\.githubusercontent\.com/{source})/v{metadata.version}/([^#]+)"
    )
    for link in links:
        assert (ROOT / beside.match(link)[1]).is_file() if source in link else link.startswith("https://"), link
