"""What report.html says; how it looks is tested in a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import reports
import torch
from artifacts import workspace
from command_line import write_recipe
from PIL import Image
from safetensors.torch import save_file

from loramerge import read_recipe, run
from loramerge.bases.base import read_base
from loramerge.provenance import comparison
from loramerge.reports.page import html
from loramerge.reports.page.colours import Colours, ColourScale
from loramerge.reports.page.groups import anatomy_of, grouped, modules_of
from loramerge.reports.page.numbers import number, share, signed, small
from loramerge.reports.page.plots import BarChart, HeatMap

pytestmark = pytest.mark.slow

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return reports.made(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def recipe(result):
    return read_recipe(result.artifact / "recipe.yaml")


@pytest.fixture(scope="module")
def page(result):
    return (result.artifact / "report.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Tags, attributes, and tags that were not closed."""

    VOID = ("meta", "link", "img", "br", "input", "path", "use")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        self.text.append(data)


def test_it_is_one_well_formed_page_that_refers_to_nothing_outside(page):
    read = Reader(page)
    assert read.open == []
    addresses = [value for name, value in read.attributes if name in {"src", "href", "action", "poster", "srcset"}]
    assert addresses
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert "url(" not in re.sub(r"url\(#", "", page)
    assert "@import" not in page
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_what_strangers_wrote_is_text(page):
    read = Reader(page)
    assert read.tags.count("script") == 1
    assert "<script>document" not in page
    text = "".join(read.text)
    assert text.count(reports.SCRIPT) >= 4  # the description, there and in the recipe, and two LoRAs' trigger words
    assert not [name for name, _ in read.attributes if name.startswith("on")]


def test_what_was_merged_is_said(result, page):
    text = "".join(Reader(page).text)
    for expected in (
        "a × 0.7, against × 0.7, b × weights by block",
        "svd, engine factored, svd_rank 3",
        "Stable Diffusion 1.5",
        "a and against",
        "in opposite directions",
        (result.artifact / "recipe.yaml").read_text(),
        "matplotlib",
    ):
        assert expected in text
    for lora in result.report["loras"]:
        assert lora["files"][0]["sha256"] in text


def test_every_module_and_every_number_is_there(result, page):
    modules = modules_of(result.report, anatomy_of(result.report))
    assert page.count("</tr>") > len(modules)
    for module in modules:
        assert f"{module.component}.{module.name}</th>" in page
        assert f'<data value="{module.norm:.7g}">' in page


def test_the_same_artifact_is_the_same_page(result, recipe, page):
    report = json.loads((result.artifact / "report.json").read_text())
    sheet = result.artifact / "preview" / "preview.png"
    assert html(recipe, report, sheet) == page
    assert "<img" not in html(recipe, report)


def test_the_users_matplotlib_has_no_say(result, page, tmp_path):
    (tmp_path / "matplotlibrc").write_text("svg.fonttype: path\nfont.size: 30\nsvg.hashsalt: x\ntext.color: red\n")
    code = """
import json, sys
from pathlib import Path
from loramerge import read_recipe, run
from loramerge.reports.page import html
place = Path(sys.argv[1])
report = json.loads((place / "report.json").read_text())
text = html(read_recipe(place / "recipe.yaml"), report, place / "preview" / "preview.png")
sys.stdout.buffer.write(text.encode())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, result.artifact], cwd=tmp_path, capture_output=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": "7", "HOME": str(tmp_path / "none")},
    )  # fmt: skip
    assert done.stdout.decode() == page
    assert done.stderr == b""


def test_one_lora_has_nothing_to_compare(tmp_path):
    made = reports.made(
        tmp_path, loras={"a": reports.LORAS["a"]}, merge={"combination_type": "cat"}, preview=None, description=""
    )
    text = (made.artifact / "report.html").read_text()
    assert "There is one LoRA" in text
    assert made.report["overlap"]["pairs"] == []
    assert 'class="sheet"' not in text
    assert "Nothing speaks against this merge" in text


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Twenty LoRAs that are two files, merged exactly and rounded."""
    folder = workspace(tmp_path_factory.mktemp("many"))
    loras = {f"l{number:02}": {"source": f"{'ab'[number % 2]}.safetensors", "weight": 0.1} for number in range(20)}
    recipe = write_recipe(
        folder,
        base="base",
        loras=loras,
        merge={"combination_type": "cat", "engine": "factored"},
        outputs=[{"kind": "adapter", "format": "kohya", "dtype": "bfloat16"}],
        report="full",
    )
    return run(read_recipe(recipe), out=folder / "out", device="cpu")


def table_of_pairs(text):
    return re.findall(r"<tr>.*?</tr>", text.partition('aria-label="Pairs of LoRAs"')[2].partition("</table>")[0])[1:]


def test_many_names_of_few_files_are_told_as_such(many):
    text = (many.artifact / "report.html").read_text()
    said = [warning for warning in many.warnings if "are the same file, which takes part 10 times" in warning]
    assert [warning.partition(",")[0] for warning in said] == ["l00", "l01"]
    assert len(many.warnings) <= 4
    (row,) = table_of_pairs(text)
    assert "l00 and l01" in row
    assert "Left out: 189 pairs of LoRAs that are the same" in text
    assert len(many.report["overlap"]["pairs"]) == 190


def test_many_loras_are_no_more_bars_than_there_are_colours(many):
    text = (many.artifact / "report.html").read_text()
    plot = text.partition('id="plot-norms"')[2].partition("</figure>")[0]
    assert [f"var(--series-{number})" in plot for number in range(1, 10)] == [True] * 8 + [False]
    assert "of the 8 strongest LoRAs" in text


def test_what_would_show_nothing_is_left_out(many, page):
    text = (many.artifact / "report.html").read_text()
    assert "plot-fidelity" in page
    assert "plot-fidelity" not in text
    assert "Relative error by block and kind of layer: 0 everywhere" in text
    assert "Retained is the share" in page
    assert "Retained" not in text


def test_nothing_is_called_exact_that_is_rounded(many):
    text = (many.artifact / "report.html").read_text()
    lost = many.report["rounding"]["kohya"]
    assert f"What is written is rounded: kohya: bfloat16 loses {lost:.1e} of the merge." in text
    assert ">exact<" not in text
    assert "the merge is the LoRAs stacked, before rounding" in text
    card = (many.artifact / "README.md").read_text()
    assert f"before rounding (kohya: bfloat16 loses {lost:.1e} of the merge)" in card
    assert "189 more pairs" in card


def test_what_float32_costs_is_said(result, recipe, page):
    report = json.loads((result.artifact / "report.json").read_text())
    assert report["storage"] is None
    assert "in float32" not in page
    report["storage"] = {"outputs": ["kohya"], "dtype": "float16", "size": 2_000_000, "size_in_dtype": 1_000_000}
    assert "kohya in float32 takes 2.0 MB; in float16, as the LoRAs are, 1.0 MB." in html(recipe, report)


def test_loras_that_are_one_have_nothing_to_compare(tmp_path):
    both = {name: {"source": "a.safetensors", "weight": 0.5} for name in ("a", "b")}
    made = reports.made(tmp_path, loras=both, merge={"combination_type": "cat"}, preview=None, description="")
    text = (made.artifact / "report.html").read_text()
    assert "This is one LoRA under 2 names" in text
    assert made.warnings == ("a and b are the same file, which takes part 2 times, with weight 1 in all; give it once",)
    assert ">exact<" in text


def test_a_large_sheet_becomes_a_webp(result, recipe, tmp_path):
    sheet = tmp_path / "preview.png"
    Image.effect_noise((1200, 1200), 100).save(sheet)
    report = json.loads((result.artifact / "report.json").read_text())
    text = html(recipe, report, sheet)
    assert 'src="data:image/webp;base64,' in text
    assert len(text) < sheet.stat().st_size * 1.4
    Image.effect_noise((60, 20000), 100).save(sheet)  # higher than a WebP can be
    assert 'src="data:image/png;base64,' in html(recipe, report, sheet)


def test_groups_add_up(result):
    modules = modules_of(result.report, anatomy_of(result.report))
    groups = grouped(modules)
    for component, part in result.report["fidelity"].items():
        if component != "unet":
            assert groups[component, "all"].error == pytest.approx(part["error"])
    whole = type(groups["text_encoder", "all"])(modules)
    assert whole.norm**2 == pytest.approx(sum(module.norm**2 for module in modules))
    assert 0 < whole.retained < 1
    assert whole.ranks == "3"


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (small, 3e-8, "0"),
        (small, 3e-4, "3e-4"),
        (small, 0.0096, ".01"),
        (small, 0.47, ".47"),
        (small, 1.5, "1.5"),
        (share, 0.0, ".00"),
        (share, 0.999, "1"),
        (share, 0.994, ".99"),
        (signed, -0.449, f"{MINUS}.45"),
        (signed, 1.0, "+1"),
        (signed, -0.001, "0"),
        (signed, 0.0, "0"),
        (number, None, '<data value="">\N{EN DASH}</data>'),
        (number, -0.5, f'<data value="-0.5">{MINUS}0.5</data>'),
        (number, 1234.5678, '<data value="1234.568">1.23e+03</data>'),
    ],
)
def test_numbers(function, value, text):
    assert function(value) == text


def test_scales_have_two_sides_and_ends():
    cosine, conflict = ColourScale(0.0, 1.0, -1.0), ColourScale(0.5, 1.0, 0.0, high="--warm", low="--cold")
    assert cosine.fill(-0.5) == "color-mix(in oklab, var(--warm) 50%, var(--neutral))"
    assert cosine.fill(2.0) == "color-mix(in oklab, var(--cold) 100%, var(--neutral))"
    assert conflict.fill(1.0) == cosine.fill(-1.0)
    assert conflict.fill(0.5).startswith("color-mix(in oklab, var(--warm) 0%")
    assert ColourScale(0.0, 1.0, 0.0).strength(0.25) == 0.25
    assert ColourScale(1.0, 0.0, 1.0).strength(0.75) == 0.25


def test_plots_have_the_colours_of_the_page_and_no_others():
    cells = {("a", "x"): 0.2, ("b", "y"): -1.0}
    texts = dict.fromkeys(cells, "<&$x^2$>")
    drawn = HeatMap(["a", "b"], ["x", "y"], cells, texts, ColourScale(0.0, 1.0, -1.0)).svg("plot-x", 'said "so"')
    assert "#" not in re.sub(r"&#\d+;", "", drawn)
    assert "&lt;&amp;$x^2$&gt;" in drawn
    assert 'aria-label="said &quot;so&quot;"' in drawn
    assert drawn.count("color-mix") == 2
    bars = BarChart(["a", "b"], ["var(--series-1)", "var(--ink)"], {"a": [1.0, None], "b": [0.0, 3.0]}).svg(
        "plot-y", "y"
    )
    assert bars.count("var(--series-1)") == 2
    assert "font-family" not in drawn + bars


def test_a_plot_of_nothing_but_zeros():
    assert "<svg" in BarChart(["a"], ["var(--ink)"], {"a": [0.0]}).svg("plot-z", "z")


def test_stand_ins_for_colours_are_told_apart():
    colours = Colours()
    stand_ins = [colours.css(f"var(--c{number})") for number in range(300)]
    assert len(set(stand_ins)) == 300
    assert colours.resolved(stand_ins[-1]) == "var(--c299)"


@pytest.mark.parametrize(
    ("old", "new", "within"),
    [
        ('<data value="0.4449999">0.44</data>', '<data value="0.4450001">0.45</data>', True),
        ('<data value="0.44">0.44</data>', '<data value="0.45">0.45</data>', False),
        ('<data value="-1e-06">0.00</data>', '<data value="2e-06">0.00</data>', True),
        ('<data value="">–</data>', '<data value="0.5">0.5</data>', False),
        ("<p>far</p>", "<p>near</p>", False),
        ("<svg a>drawn</svg><p>x</p>", "<svg b>else</svg><p>x</p>", True),
        ('<img src="data:image/png;base64,AA" alt="x">', '<img src="data:image/png;base64,BB" alt="x">', True),
        ('<dl data-of="environment"><dd>2.6</dd></dl>', '<dl data-of="environment"><dd>2.13</dd></dl>', True),
    ],
)  # fmt: skip
def test_a_page_made_again_elsewhere(tmp_path, old, new, within):
    paths = [tmp_path / "old.html", tmp_path / "new.html"]
    for path, text in zip(paths, (old, new), strict=True):
        path.write_text(text, encoding="utf-8")
    assert comparison.files(*paths).within is within


def test_a_page_that_was_tampered_with_is_none_made_again(result, page, tmp_path):
    forged = tmp_path / "report.html"
    forged.write_text(page.replace("in opposite directions", "in the same direction"), encoding="utf-8")
    assert comparison.files(result.artifact / "report.html", result.artifact / "report.html").within
    assert not comparison.files(result.artifact / "report.html", forged).within


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """The report of a merge on a base that is no UNet: a FLUX.1 with two lists of blocks, one of them long."""
    place = tmp_path_factory.mktemp("transformer")
    config = {
        "_class_name": "FluxTransformer2DModel", "in_channels": 4, "num_layers": 2, "num_single_layers": 26,
        "attention_head_dim": 4, "num_attention_heads": 2, "joint_attention_dim": 8, "pooled_projection_dim": 8,
        "axes_dims_rope": [2, 1, 1],
    }  # fmt: skip
    (place / "base").mkdir()
    (place / "base" / "config.json").write_text(json.dumps(config))
    modules = read_base("base", place / "base").components["transformer"].modules
    for seed, name in enumerate("ab"):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for module, (rows, columns) in modules.items():
            tensors[f"transformer.{module}.lora_A.weight"] = torch.randn(2, columns, generator=generator)
            tensors[f"transformer.{module}.lora_B.weight"] = torch.randn(rows, 2, generator=generator)
        save_file(tensors, place / f"{name}.safetensors")
    (place / "r.yaml").write_text(
        "version: 1\nname: r\nbase: {source: base}\nloras:\n"
        "- {name: a, source: a.safetensors, weight: {transformer: {attention: 0.5, mlp: 1, modulation: 1, other: 1}}}\n"
        "- {name: b, source: b.safetensors}\n"
        "merge: {combination_type: svd, svd_rank: 3}\noutputs: [{kind: adapter, format: peft}]\n"
    )
    return run(read_recipe(place / "r.yaml"), out=place / "out")


def labels_of(svg):
    return [each for each in re.findall(r"<text [^>]*>([^<]+)</text>", svg) if re.match("[a-z]+_", each)]


def test_the_blocks_of_a_transformer(transformer):
    text = (transformer.artifact / "report.html").read_text()
    rows = [
        "time_text_embed", "context_embedder", "x_embedder", "transformer_blocks 0", "transformer_blocks 1",
        *(f"single_transformer_blocks {row}" for row in ("0-3", "4-7", "8-11", "12-15", "16-19", "20-23", "24-25")),
        "norm_out", "proj_out",
    ]  # fmt: skip
    drawings = re.findall(r'<svg class="plot".*?</svg>', text, flags=re.DOTALL)
    assert len(drawings) == 6
    for svg in drawings:
        assert labels_of(svg) == rows
    assert [*dict.fromkeys(re.findall(r'<th scope="row" title="transformer\.[^"]*">([^<]+)</th>', text))] == rows
    assert ">lation</text>" in drawings[0]
    assert "cross" not in drawings[0]
    assert "UNet" not in "".join(Reader(text).text)
    modules = re.findall(r'<th scope="row">transformer\.([a-z_]+)', text)
    assert [*dict.fromkeys(modules)][3:] == ["transformer_blocks", "single_transformer_blocks", "norm_out", "proj_out"]


def test_labels_have_the_room_that_they_need(transformer):
    text = (transformer.artifact / "report.html").read_text()
    widths = [float(each) for each in re.findall(r'<svg class="plot"[^>]*viewBox="0 0 ([0-9.]+) ', text)]
    assert min(widths) > 6 * len("single_transformer_blocks 24-25") + 3 * 44
