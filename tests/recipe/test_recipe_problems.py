"""The wording of every mistake that a recipe can have."""

from __future__ import annotations

import pytest
from sample_recipe import TEXT, parsed, report, small, without_origin

from loramerge.documents.problems import RecipeProblemsError

SHA256 = "a" * 64


def problems(**changes) -> list[str]:
    return without_origin(report(small(**changes)))


def lora(**changes) -> list[dict[str, object]]:
    return [{"name": "a", "source": "a.safetensors"} | changes]


def part(*before, **rule) -> dict[str, object]:
    return {"merge": {"combination_type": "cat", "parts": [*before, rule]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nme": 1}, "nme: unknown key; did you mean 'name'?"),
        (
            {"merge": {"combination_type": "cat", "zzzzzz": 1}},
            "merge.zzzzzz: unknown key; expected `combination_type`, `engine` or `parts`",
        ),
        (
            {"merge": {"combination_type": "cat", "svd_rank": 4}},
            "`svd_rank` is not a parameter of `cat`; it is one of `breadcrumbs`, `dare_linear_svd`, `dare_ties_svd`, ",
        ),
        (
            {"merge": {"combination_type": "ties", "density": 1, "seed": 0}},
            "`seed` is not a parameter of `ties`; it is one of `dare_linear`, `dare_linear_svd`, `dare_ties`, ",
        ),
        ({"merge": {"combination_type": "svd", "svd_rnk": 4}}, "merge.svd_rnk: unknown key; did you mean 'svd_rank'?"),
        ({"merge": {"combination_type": "dare"}}, "did you mean 'dare_ties'?"),
        ({"merge": {}}, "merge.combination_type: missing; expected 'breadcrumbs', 'cat', 'dare_linear', "),
        ({"merge": "cat"}, "merge: found the text 'cat'; expected a mapping with `combination_type`"),
        ({"merge": None}, "merge: found nothing; expected a mapping with `combination_type`"),
        (
            {"merge": {"combination_type": ["cat"]}},
            "merge.combination_type: found a list; expected 'breadcrumbs', 'cat', ",
        ),
        (
            {"merge": {"combination_type": "cat", "engine": "pft"}},
            "expected 'peft' or 'factored'; did you mean 'peft'?",
        ),
        (
            {"merge": {"combination_type": "ties", "density": 0.5, "space": "core", "engine": "peft"}},
            "merge.space: PEFT combines LoRAs in no space of their own; leave out `engine: peft`",
        ),
        (
            {"merge": {"combination_type": "tsv", "engine": "peft"}},
            "merge.engine: PEFT has no such type; leave it out, or say `factored`",
        ),
        (
            {"merge": {"combination_type": "della", "density": 0.95}},
            "merge.epsilon: values would be kept with probabilities from 0.85 to 1.05; with density 0.95, epsilon",
        ),
        (
            {"merge": {"combination_type": "tsv", "density": 0.5}},
            "`density` is not a parameter of `tsv`; it is one of ",
        ),
        (
            {"merge": {"combination_type": "cat", "parts": []}},
            "merge.parts: found an empty list; expected a list that is not empty",
        ),
        (part(combination_type="tsv"), "merge.parts.0.match: missing; expected text that is not empty or a list"),
        (part(match="mid", combination_type="tvs"), "merge.parts.0.combination_type: found the text 'tvs'; expected"),
        (part(match="mid", combination_type="tsv", svd_rnk=3), "merge.parts.0.svd_rnk: unknown key; did you mean"),
        (part(match="mid", combination_type="ties"), "merge.parts.0.density: missing; expected a number above 0"),
        (part(match="", combination_type="svd"), "merge.parts.0.match: found empty text; expected text that is not"),
        (part(match="mid", combination_type="svd", parts=[]), "merge.parts.0.parts: unknown key here; it is a key of"),
        (
            part(match="mid", combination_type="take", loras=["fen"]),
            "merge.parts.0.loras.0: there is no LoRA 'fen'; expected 'ikea' or 'feng'; did you mean 'feng'?",
        ),
        (part(match="mid", combination_type="take", loras=[]), "merge.parts.0.loras: found an empty list; expected"),
        (
            part({"match": ["up", "mid"], "combination_type": "svd"}, match="mid", combination_type="tsv"),
            "merge.parts.1.match: part 0 is for 'mid' already; a module has one rule",
        ),
        ({"merge": {"combination_type": "take", "loras": ["a"]}}, "merge.combination_type: found the text 'take'; "),
        ({"merge": {"combination_type": "linear", "space": "cor"}}, "'knots' or 'ctm'; did you mean 'core'?"),
        ({"merge": {"combination_type": "svd", "space": "core"}}, "`space` is not a parameter of `svd`; it is one of "),
        (
            {"merge": {"combination_type": "ties"}},
            "merge.density: missing; expected a number above 0 and at most 1",
        ),
        (
            {"merge": {"combination_type": "ties", "density": 0}},
            "merge.density: found the number 0; expected a number above 0 and at most 1",
        ),
        ({"merge": {"combination_type": "ties", "density": 1.5}}, "merge.density: found the number 1.5; expected a"),
        ({"merge": {"combination_type": "svd", "svd_rank": 0}}, "expected a whole number from 1 to 65536"),
        ({"merge": {"combination_type": "svd", "svd_rank": 4.0}}, "found the number 4.0; expected a whole number"),
        ({"merge": {"combination_type": "svd", "svd_rank": "4"}}, "found the text '4'; expected a whole number"),
        (
            {"merge": {"combination_type": "svd", "svd_rank": {"energy": 1.5}}},
            "merge.svd_rank.energy: found the number 1.5; expected a number above 0 and at most 1",
        ),
        (
            {"merge": {"combination_type": "svd", "svd_rank": {"max": 8}}},
            "merge.svd_rank.energy: missing; expected a number above 0 and at most 1",
        ),
        (
            {"merge": {"combination_type": "svd", "svd_rank": {"energie": 0.5, "energy": 1}}},
            "merge.svd_rank.energie: unknown key; did you mean 'energy'?",
        ),
        ({"merge": {"combination_type": "svd", "svd_clamp": 0}}, "expected a number above 0 and at most 1"),
        ({"merge": {"combination_type": "svd", "svd_full_matrices": 1}}, "found the number 1; expected true or false"),
        (
            {"merge": {"combination_type": "svd", "svd_driver": "gesv"}},
            "expected 'gesvd', 'gesvdj' or 'gesvda'; did you mean 'gesvd'?",
        ),
        ({"version": 2}, "version: found the number 2; expected 1"),
        ({"version": "1"}, "version: found the text '1'; expected 1"),
        ({"version": True}, "version: found true; expected 1"),
        ({"name": ""}, "name: found empty text; expected a name of at most 96 letters, digits, '.', '_' and '-' that"),
        ({"name": "a/b"}, "name: found the text 'a/b'; expected a name of"),
        ({"name": "x" * 97}, f"name: found the text '{'x' * 59}…'; expected a name of"),
        ({"name": 12}, "quote it, as in '12'"),
        ({"description": None}, "description: found nothing; expected text"),
        ({"description": ["x"]}, "description: found a list; expected text"),
        ({"base": {}}, "base: it names no model; expected `source:`, or `family:` where no output needs"),
        ({"base": []}, "base: found an empty list; expected a mapping of `source`, `family`, `revision`, `variant`"),
        ({"base": {"family": "sd4"}}, "base.family: found the text 'sd4'; expected "),
        ({"base": {"family": "sdxl", "source": "x"}}, "base.family: the source says which family it is"),
        ({"base": {"family": "sdxl", "revision": "x"}}, "base.revision: a family has no revision"),
        (
            {"base": {"family": "sdxl"}, "outputs": [{"kind": "pipeline"}]},
            "outputs.0.kind: it needs the base's weights",
        ),
        ({"base": {"family": "sdxl"}, "preview": {"prompts": ["x"]}}, "preview: pictures need the base's weights"),
        ({"base": {"source": "x", "revision": ""}}, "base.revision: found empty text; expected text that is not empty"),
        ({"loras": []}, "loras: found an empty list; expected a list that is not empty"),
        ({"loras": {}}, "loras: found an empty mapping; expected a list that is not empty"),
        ({"loras": ["a.safetensors"]}, "loras.0: found the text 'a.safetensors'; expected a mapping of `name`, "),
        ({"loras": lora(rank=0)}, "loras.0.rank: found the number 0; expected a whole number from 1 to 65536"),
        ({"loras": lora(rank=True)}, "loras.0.rank: found true; expected a whole number from 1 to 65536"),
        ({"loras": lora(weight=True)}, "loras.0.weight: found true; expected a number from -1000000 to 1000000 or a"),
        ({"loras": lora(weight=[1])}, "loras.0.weight: found a list; expected a number"),
        ({"loras": lora(weight=float("inf"))}, "loras.0.weight: found the number .inf; expected a number"),
        (
            {"loras": lora(weight={"down": 1})},
            "loras.0.weight.down: unknown key; expected `unet`, `transformer`, `trans",
        ),
        ({"loras": lora(weight={"unet": {"dwn": 1}})}, "loras.0.weight.unet.dwn: unknown key; did you mean 'down'?"),
        (
            {"loras": lora(weight={"unet": {"down": {"blok_1": 1}}})},
            "loras.0.weight.unet.down.blok_1: unknown key; expected block_0, block_1, …",
        ),
        (
            {"loras": lora(weight={"unet": {"down": {"block_1": "x"}}})},
            "loras.0.weight.unet.down.block_1: found the text 'x'; expected a number",
        ),
        (
            {"loras": lora(weight={"unet": {"down": {"block_1": [1, "x"]}}})},
            "loras.0.weight.unet.down.block_1.1: found the text 'x'; expected a number",
        ),
        ({"loras": lora(weight={"unet": {"up": {}}})}, "loras.0.weight.unet.up: found an empty mapping; expected a"),
        ({"loras": lora(weight={"text_encoder": []})}, "text_encoder: found an empty list; expected a number"),
        (
            {"loras": lora(weight={"transformer": {"blocks": {"0-9": 1, "9": 2}}})},
            "loras.0.weight.transformer.blocks.9: 9 is in '0-9' as well; a block has one weight",
        ),
        (
            {"loras": lora(weight={"transformer": {"blocks": {"4-9": 1, "0-5": 2}}})},
            "loras.0.weight.transformer.blocks.0-5: 4-5 is in '4-9' as well; a block has one weight",
        ),
        (
            {"loras": lora(weight={"transformer": {"blocks": {"9-0": 1}}})},
            "loras.0.weight.transformer.blocks.9-0: 9 comes after 0; write 0-9",
        ),
        (
            {"loras": lora(weight={"transformer": {"blocks": {"first": 1}}})},
            "unknown key; expected a block or a range of blocks, such as '12' or '0-9'",
        ),
        (
            {"loras": lora(weight={"transformer": {"blocks": 1, "mlp": 2, "other": 0}})},
            "loras.0.weight.transformer: names kinds of layers (`mlp`) and blocks (`blocks`); a mapping has one or the",
        ),
        ({"loras": lora(sha256="ABC")}, "expected the SHA-256 of the file: 64 digits from 0-9 and a-f"),
        ({"loras": lora(unmatched="skp")}, "expected 'error' or 'skip'; did you mean 'skip'?"),
        ({"outputs": []}, "outputs: found an empty list; expected a list that is not empty"),
        ({"outputs": [{}]}, "outputs.0.kind: missing; expected 'adapter', 'inputs', 'model' or 'pipeline'"),
        ({"outputs": [{"kind": "pipelin"}]}, "outputs.0.kind: found the text 'pipelin'; expected 'adapter', 'inputs'"),
        (
            {"outputs": [{"kind": None}]},
            "outputs.0.kind: found nothing; expected 'adapter', 'inputs', 'model' or 'pipeline'",
        ),
        (
            {"outputs": [{"kind": "adapter"}]},
            "outputs.0.format: missing; expected 'comfyui', 'diffusers', 'kohya' or 'peft'",
        ),
        (
            {"outputs": [{"kind": "adapter", "format": "kohia"}]},
            "found the text 'kohia'; expected 'comfyui', 'diffusers', 'kohya' or 'peft'; did you mean 'kohya'?",
        ),
        (
            {"outputs": [{"kind": "pipeline", "format": "peft"}]},
            "`format` is not a parameter of `pipeline`; it is one of `comfyui`, `diffusers`, `kohya`, `peft`",
        ),
        (
            {"outputs": [{"kind": "adapter", "format": "peft", "lora_scale": 1}]},
            "outputs.0.lora_scale: `lora_scale` is not a parameter of `peft`; it is one of `model`, `pipeline`",
        ),
        ({"outputs": [{"kind": "pipeline", "dtype": "fp16"}]}, "did you mean 'float16'?"),
        ({"outputs": [{"kind": "pipeline", "max_shard_size": "5 GB"}]}, "expected a size such as 500MB or 5GB"),
        ({"publish": [{"kind": "foldr", "path": "x"}]}, "publish.0.kind: found the text 'foldr'; expected "),
        ({"publish": [{"kind": "folder"}]}, "publish.0.path: missing; expected text that is not empty"),
        ({"preview": {"prompts": []}}, "preview.prompts: found an empty list; expected a list that is not empty"),
        ({"preview": {"prompts": [""]}}, "preview.prompts.0: found empty text; expected text that is more than blanks"),
        (
            {"preview": {"prompts": ["x"], "steps": 0}},
            "preview.steps: found the number 0; expected a whole number from",
        ),
        (
            {"preview": {"prompts": ["x"], "width": 1001}},
            "preview.width: found the number 1001; expected a whole number from 8 to 8192 and a multiple of 8",
        ),
        ({"preview": {"prompts": ["x"], "seeds": 3}}, "preview.seeds: found the number 3; expected a list"),
    ],
)
def test_one_mistake(changes, message):
    (only,) = problems(**changes)
    assert message in only


def test_a_missing_key_is_reported_where_it_would_be():
    (said,) = report(TEXT.replace("    source: loras/ikea.safetensors\n", ""))
    kinds = "hf://owner/name, a path, https://…, oci://host/name:tag or s3://bucket/path"
    assert said.startswith(f"r.yaml:6:5: loras.0.source: missing; expected {kinds}, or `extr")


def test_an_unknown_key_is_reported_at_the_key():
    (line,) = report(TEXT.replace("weight", "wieght"))
    assert line == "r.yaml:8:5: loras.0.wieght: unknown key; did you mean 'weight'?"


@pytest.mark.parametrize("revision", ["1234567", "0123456", "12e4567", "1e99999"])
def test_a_revision_that_reads_as_a_number_must_be_quoted(revision):
    (line,) = report(TEXT.replace("base-1.0\n", f"base-1.0\n  revision: {revision}\n"))
    assert line == (
        f"r.yaml:5:13: base.revision: found the number {revision}; expected text that is not empty: "
        f"quote it, as in '{revision}'"
    )


@pytest.mark.parametrize("name", ["2024-01-01", "on", "no", "1_0"])
def test_text_that_only_yaml_1_1_reads_as_something_else_is_text(name):
    assert parsed(TEXT.replace("name: ikea-feng", f"name: {name}")).name == name


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://example.org/x.safetensors", "http://example.org/x.safetensors: sources of this kind are not read"),
        ("gs://bucket/x.safetensors", "sources of this kind are not read"),
        ("hf://owner", "hf://owner names no repository"),
        ("hf://owner/name/../x", "'../x' is no path in a repository"),
        ("hf://owner/name/a/../../x", "is no path in a repository"),
        (" ", "is no source: it is empty"),
        ("x.bin", "x.bin is refused: a pickle can run code when it is opened; only safetensors is read"),
        ("hf://owner/name/x.ckpt", "a pickle can run code"),
        ("x.PT", "a pickle can run code"),
        ("x.pth", "a pickle can run code"),
        ("x.pkl", "a pickle can run code"),
    ],
)
def test_sources_that_are_none(source, message):
    (only,) = problems(loras=lora(source=source))
    assert only.startswith("loras.0.source: ")
    assert message in only
    (only,) = problems(base={"source": source})
    assert only.startswith("base.source: ")


def test_an_empty_source():
    assert problems(base={"source": ""})[0].startswith("base.source: found empty text; expected text")


def test_https_needs_a_sha256():
    (only,) = problems(loras=lora(source="https://example.org/x.safetensors"))
    assert only.startswith("loras.0.sha256: https://example.org/x.safetensors: `sha256` is required")
    assert parsed(small(loras=lora(source="https://example.org/x.safetensors", sha256=SHA256)))


def test_a_base_may_be_one_file():
    for base in (
        {"source": "models/x.safetensors"},
        {"source": "hf://a/b/x.safetensors", "revision": "main"},
        {"source": "https://example.org/x.safetensors", "sha256": SHA256},
        {"source": "x.safetensors", "config": "hf://a/b"},
        {"source": "x.safetensors", "config": "wan/14b"},
        {"source": "x.safetensors", "config": "./folder"},
    ):
        assert parsed(small(base=base)).base.is_file
    (only,) = problems(base={"source": "https://example.org/x.safetensors"})
    assert only.startswith("base.sha256: https://example.org/x.safetensors: `sha256` is required")


def test_what_goes_with_a_base_that_is_one_file():
    (only,) = problems(base={"source": "x.safetensors", "variant": "fp16"})
    assert only == "base.variant: the source is one file, and a variant is one of several; leave it out"
    (only,) = problems(base={"source": "x.safetensors", "config": "ftp://a/b"})
    assert only.startswith("base.config: ftp://a/b: sources of this kind are not read")
    (only,) = problems(base={"source": "x.ckpt"})
    assert only.startswith("base.source: x.ckpt is refused: a pickle can run code")
    (only,) = problems(base={"family": "sdxl", "config": "hf://a/b"})
    assert only == "base.config: a family has no config; leave it out, or give the base's `source:` instead"


def test_a_sha256_is_for_one_file():
    assert parsed(small(loras=lora(sha256=SHA256)))
    assert parsed(small(loras=lora(source="hf://a/b/c.safetensors", sha256=SHA256)))
    (only,) = problems(loras=lora(source="hf://a/b", sha256=SHA256))
    assert only.startswith("loras.0.sha256: hf://a/b: it is a repository, and `sha256` is for one file")


def test_only_repositories_have_revisions():
    (only,) = problems(loras=lora(revision="main"))
    assert only.startswith("loras.0.revision: a.safetensors: a path has no revision")
    (only,) = problems(loras=lora(source="https://x.org/x.safetensors", sha256=SHA256, revision="main"))
    assert only.startswith("loras.0.revision: https://x.org/x.safetensors: an https source has no revision")


def test_names_of_loras_are_unique_on_every_file_system():
    assert problems(loras=lora() + lora()) == [
        "loras.1.name: 'a' is the name of LoRA 0 already; give each LoRA a name of its own"
    ]
    (only,) = problems(loras=lora() + lora(name="A"))
    assert only.startswith(
        "loras.1.name: 'A' is the name of LoRA 0 already (as 'a': some file systems do not tell them"
    )


def test_folders_of_outputs_are_unique():
    peft = {"kind": "adapter", "format": "peft"}
    assert problems(outputs=[peft, peft]) == [
        "outputs.1.name: 'peft' is the name of output 0 already; give each output a name of its own"
    ]
    assert problems(outputs=[peft, {"kind": "inputs", "name": "peft"}])[0].startswith("outputs.1.name: 'peft' is the")
    assert parsed(small(outputs=[peft, peft | {"name": "half"}]))


def test_outputs_do_not_take_the_place_of_what_every_artifact_has():
    assert problems(outputs=[{"kind": "inputs", "name": "readme.md"}]) == [
        "outputs.0.name: 'readme.md' is a part of every artifact; choose another name"
    ]


def test_a_repository_is_owner_and_name():
    for repo in ("merged", "me/", "me/a/b", "me/a b", "me/a--b", "../a", "https://x/me/a"):
        (problem,) = problems(publish=[{"kind": "hub", "repo": repo}])
        assert problem.startswith(f"publish.0.repo: found the text {repo!r}; expected owner/name, ")
    assert problems(publish=[{"kind": "hub", "repo": "me/a.git"}]) == [
        "publish.0.repo: 'me/a.git' ends in '.git'; write owner/name alone"
    ]


def test_a_branch_has_one_target():
    publish = [{"kind": "hub", "repo": "me/a"}, {"kind": "hub", "repo": "Me/a", "revision": "main"}]
    (problem,) = problems(publish=publish)
    assert problem.startswith("publish.1.repo: target 0 publishes to this branch already")
    publish[1]["revision"] = "next"
    assert parsed(small(publish=publish))


def test_a_tag_names_one_commit():
    publish = [
        {"kind": "hub", "repo": "me/a", "tag": "v1"},
        {"kind": "hub", "repo": "Me/a", "revision": "b", "tag": "v1"},
    ]
    assert problems(publish=publish) == [
        "publish.1.tag: target 0 gives 'v1' to its commit already, and a tag names one; choose another"
    ]
    publish[1]["tag"] = "v1-b"
    assert parsed(small(publish=publish))


def test_a_pull_request_has_no_tag():
    (problem,) = problems(publish=[{"kind": "hub", "repo": "me/a", "create_pr": True, "tag": "v1"}])
    assert problem.startswith("publish.0.tag: a pull request gets no tag")


def test_a_tag_in_a_registry_names_one_artifact():
    target = {"kind": "oci", "repository": "ghcr.io/me/ink", "tag": "v1"}
    (problem,) = problems(publish=[target, target | {"tag": "v2"}, target])
    assert "publish.2.tag: target 0 publishes under this tag already" in problem
    assert "publish.0.repository: " in problems(publish=[target | {"repository": "me/Ink"}])[0]


def test_a_folder_is_no_address():
    (problem,) = problems(publish=[{"kind": "folder", "path": "hf://me/merged"}])
    assert problem == (
        "publish.0.path: 'hf://me/merged' is an address, and `kind: folder` is a place on this machine; "
        "the Hub is `kind: hub` with `repo: owner/name`, a registry `kind: oci`"
    )


def test_only_outputs_are_published():
    outputs = [{"kind": "adapter", "format": "kohya"}, {"kind": "pipeline", "name": "fused"}]
    publish = [{"kind": "folder", "path": "x", "outputs": ["kohya", "kohia", "fused", "pipeline"]}]
    assert problems(outputs=outputs, publish=publish) == [
        "publish.0.outputs.1: there is no output 'kohia'; expected 'kohya' or 'fused'; did you mean 'kohya'?",
        "publish.0.outputs.3: there is no output 'pipeline'; expected 'kohya' or 'fused'",
    ]


def test_a_value_that_could_not_be_read_is_reported_once():
    assert report(TEXT.replace("name: ikea-feng", "name: !!python/name:os.system")) == [
        "r.yaml:2:7: name: the tag !!python/name:os.system is not read; remove it"
    ]


def test_a_mistake_behind_an_alias_is_reported_where_it_stands():
    text = TEXT.replace("  - name: ikea\n", "  - <<: &more {rnk: 3}\n    name: ikea\n")
    text = text.replace("  - name: feng\n", "  - <<: *more\n    name: feng\n")
    assert report(text) == [
        "r.yaml:6:16: loras.0.rnk: unknown key; did you mean 'rank'?",
        "r.yaml:6:16: loras.1.rnk: unknown key; did you mean 'rank'?",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loras": lora(weight="0,7")}, ": write 0.7, with a point and without quotes"),
        ({"loras": lora(weight=",5")}, ": write 0.5, with a point and without quotes"),
        ({"loras": lora(weight="0.7")}, ": write 0.7, without quotes"),
        ({"loras": lora(rank="16")}, ": write 16, without quotes"),
        ({"loras": lora(weight="inf")}, "or a mapping of `unet`, `transformer`,"),
        ({"loras": lora(weight="1_0")}, "or a mapping of `unet`, `transformer`,"),
        ({"version": "1"}, "expected 1: write 1, without quotes"),
        ({"name": "café noir"}, ", so 'é' and ' ' can't be in it; did you mean 'cafe-noir'?"),
        ({"name": "ink-"}, "begins and ends with a letter or digit; did you mean 'ink'?"),
        ({"name": "猫"}, ", so '猫' can't be in it"),
        (
            {"loras": lora(name="a b/c:d*e?f")},
            ", so ' ', '/', ':' and 2 others can't be in it; did you mean 'a-b-c-d-e-f'?",
        ),
        ({"loras": lora(sha256="A" * 64)}, f"; did you mean '{SHA256}'?"),
        ({"license": "OpenRAIL++"}, "; did you mean 'openrail++'?"),
        ({"engine": "peft"}, "engine: unknown key here; it is a key of `merge`: check the indentation"),
        ({"merge": {"combination_type": "svd", "rank": 9}}, "merge.rank: unknown key; did you mean `svd_rank`?"),
        ({"loras": lora(preview={})}, "preview: unknown key here; it is a key of the recipe itself: check the"),
        (
            {"merge": {"combination_type": "cat", "engine": "fast"}},
            "found the text 'fast'; expected 'peft' or 'factored'",
        ),
    ],
)
def test_what_to_write_instead(changes, said):
    (only,) = problems(**changes)
    assert only.endswith(said) or f"{said} " in f"{only} "


def test_missing_parts_show_the_lines_to_write():
    data = small()
    del data["merge"], data["outputs"]
    with pytest.raises(RecipeProblemsError) as caught:
        parsed(data)
    assert caught.value.hint.splitlines() == [
        "write it like this:",
        "  merge:",
        "    combination_type: cat",
        "  outputs:",
        "  - format: kohya",
        "    kind: adapter",
    ]


def test_a_text_in_place_of_a_part_shows_the_lines_to_write():
    with pytest.raises(RecipeProblemsError) as caught:
        parsed(small(base="hf://owner/model", loras=["a.safetensors"]))
    assert "\n  base:\n    source: hf://" in caught.value.hint
    assert "loras" not in caught.value.hint


def test_the_lines_to_write_are_a_recipe():
    with pytest.raises(RecipeProblemsError) as caught:
        parsed("license: mit")
    lines = caught.value.hint.splitlines()[1:]
    assert parsed("\n".join(line.removeprefix("  ") for line in lines)).name == "ink-glow"


def test_a_path_whose_backslash_became_a_control_character():
    (only,) = report(TEXT.replace("loras/ikea.safetensors", '"C:\\new\\ikea.safetensors"'))
    assert "write paths with slashes, or in single quotes" in only


def test_a_suggestion_says_no_secret():
    (only,) = problems(name="https://user:made-up-word@host")
    assert "did you mean" not in only
