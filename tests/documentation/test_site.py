"""The site builds without a warning and without a network, and asks for nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import browser
import pytest
from command_line import ROOT

pytestmark = pytest.mark.slow

OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
_FETCHED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="([^"]*)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def build(config, folder):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", folder]
    environment = {**os.environ, **OFFLINE, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)


def test_every_page_is_there(site):
    made = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert made == written | {"404.md", "CONTRIBUTING.md", "CHANGELOG.md"}


def test_what_a_page_needs_lies_beside_it(site):
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # it is shown at any address, so its own are absolute
            continue
        for address in _FETCHED.findall(page.read_text(encoding="utf-8")):
            assert not address.startswith(("http", "//")), f"{page.name}: {address}"
            assert (page.parent / unquote(re.split("[?#]", address)[0])).exists(), f"{page.name}: {address}"


def test_styles_fetch_nothing(site):
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_tables_that_are_folded_are_tables(site):
    text = (site / "figures.html").read_text(encoding="utf-8")
    assert re.search(r"<details>\s*<summary>SDXL</summary>.*?<table>", text, re.DOTALL)
    assert "| ---" not in text


def test_a_link_that_leads_nowhere_fails(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[there](nowhere.md)\n")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0]
    config = re.sub(r"^hooks:.*|^docs_dir:.*|^extra_css:.*", "", config, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(config)
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "'nowhere.md'" in done.stderr


@pytest.mark.skipif(browser.program() is None, reason="needs a Chromium")
def test_pages_open_and_are_searched_without_a_server(site):
    from playwright.sync_api import TimeoutError, sync_playwright  # noqa: A004  as it is called there

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.program(), args=browser.ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        asked, failed = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(Path(site, "index.html").as_uri())
        page.locator("article a", has_text="Guide").first.click()
        page.wait_for_url("**/guide.html")
        assert "merge LoRAs" in page.locator("h1").inner_text()
        found = page.locator(".md-search-result__link", has_text="Rank").first
        for _ in range(30):  # what is typed before the page listens is never looked for
            page.fill(".md-search__input", "")
            page.click(".md-search__input")
            page.keyboard.type("retained_energy", delay=10)
            with suppress(TimeoutError):
                found.wait_for(timeout=1000)
                break
        assert found.is_visible()
        chromium.close()
    assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []
    assert failed == []
