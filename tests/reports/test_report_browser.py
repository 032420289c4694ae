"""report.html as a person has it: in a real Chromium, from a file, narrow and wide, light and dark."""

from __future__ import annotations

from types import SimpleNamespace

import browser
import pytest
import reports

pytestmark = pytest.mark.long

LOOKS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def chromium():
    program = browser.program()
    if program is None:
        pytest.skip(f"there is no Chromium here (none of {', '.join(browser.NAMES)} is on PATH)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=browser.ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return reports.made(tmp_path_factory.mktemp("report")).artifact


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request, chromium, artifact):
    """A page, and what it said and asked for."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    url = (artifact / "report.html").as_uri()
    found = SimpleNamespace(page=page, said=said, asked=asked, url=url, width=width, scheme=scheme)
    load(found)
    yield found
    context.close()


def load(look):
    look.said.clear()
    look.asked.clear()
    look.page.goto(look.url)
    look.page.locator("summary").click()  # more modules than are shown unasked


@pytest.fixture
def fresh(look):
    """The report as nobody has touched it."""
    load(look)
    return look


@pytest.fixture
def opened(look):
    """The report, which earlier tests may have sorted and written to: nothing that the test asks for depends on it."""
    yield look
    look.page.emulate_media(media="null")
    look.page.get_by_role("searchbox").fill("")


def rows(page):
    return page.locator("table.sortable tbody tr:visible")


def test_it_says_nothing_and_asks_for_nothing(fresh):
    fresh.page.get_by_role("button", name="Error").click()
    assert fresh.said == []
    assert {url for url in fresh.asked if not url.startswith("data:")} == {fresh.url}


def test_nothing_of_what_strangers_wrote_runs(fresh):
    assert fresh.page.title() == "small: report of the merge"
    assert reports.SCRIPT in fresh.page.locator(".lead").inner_text()
    assert fresh.page.locator("script").count() == 1
    # Not even what would have got into the page: its policy knows its own script alone.
    fresh.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'taken = 1'}))")
    assert fresh.page.evaluate("typeof taken") == "undefined"


def test_every_plot_is_to_be_seen(opened):
    plots = opened.page.locator("svg.plot")
    assert plots.count() == 2 + 3 * 3 + 1  # fidelity and retained energy, three for each pair, norms
    for plot in plots.all():
        box = plot.bounding_box()
        assert box["width"] > 100
        assert box["height"] > 60
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= opened.width
        assert plot.locator("text").count() > 3


def test_the_body_does_not_scroll_sideways(opened):
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= opened.width


def test_the_contact_sheet_is_to_be_seen(opened, artifact):
    sheet = opened.page.locator(".sheet img")
    assert sheet.evaluate("image => image.complete && image.naturalWidth > 0")
    assert 0 < sheet.bounding_box()["width"] <= opened.width
    with opened.page.context.new_page() as page:
        page.goto((artifact / "preview" / "preview.png").as_uri())
        picture = page.locator("img")
        assert picture.evaluate("image => image.naturalWidth") > 0
        assert picture.bounding_box()["width"] > 0


def test_it_is_as_light_or_dark_as_the_system(opened):
    def brightness(of, key):
        colour = opened.page.locator(of).first.evaluate(f"element => getComputedStyle(element).{key}")
        canvas = "c => { const x = new OffscreenCanvas(1, 1).getContext('2d'); x.fillStyle = c; x.fillRect(0, 0, 1, 1);"
        return sum(opened.page.evaluate(canvas + " return [...x.getImageData(0, 0, 1, 1).data].slice(0, 3); }", colour))

    ground, ink = brightness("body", "backgroundColor"), brightness("svg.plot text", "fill")
    assert (ground > 600, ink < 200) if opened.scheme == "light" else (ground < 200, ink > 600)
    cells = opened.page.locator("#plot-fidelity path").evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    assert len(set(cells)) > 3  # colours that were mixed, not refused


def test_any_column_sorts(fresh):
    page = fresh.page
    head = page.locator("table.sortable thead th", has_text="Error")
    column = page.locator("table.sortable thead th").evaluate_all("all => all.map(one => one.innerText)").index("Error")

    def values():
        cells = page.locator(f"table.sortable tbody tr td:nth-child({column + 1}) data")
        return [float(each) for each in cells.evaluate_all("all => all.map(one => one.value)") if each]

    before = values()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True) != before
    page.keyboard.press("Enter")  # the button has the focus
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    page.get_by_role("button", name="Module").press("Space")
    names = page.locator("table.sortable tbody th").all_inner_texts()
    assert [name.split(".")[0] for name in names] == sorted(name.split(".")[0] for name in names)
    assert names[-1].startswith("unet.up_blocks")


def test_what_has_no_value_comes_last_whichever_way(opened):
    button = opened.page.get_by_role("button", name="b: norm")
    for _ in range(2):
        button.click()
        found = opened.page.locator("table.sortable tbody tr td:nth-child(5) data").evaluate_all(
            "all => all.map(one => one.value)"
        )
        empty = found.index("")
        assert empty > 0
        assert not any(found[empty:])


def test_rows_can_be_looked_for(opened):
    everything = rows(opened.page).count()
    opened.page.get_by_role("searchbox").fill("ATTN2")
    few = rows(opened.page).count()
    assert 0 < few < everything
    assert opened.page.locator("#shown").inner_text() == f"{few} of {everything}"


def test_on_paper_it_is_light_and_complete(opened):
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.page.locator(".tools").is_visible()
    assert len(opened.page.pdf(format="A4", print_background=True)) > 10_000
