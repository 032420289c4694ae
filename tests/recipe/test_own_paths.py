"""Paths of this machine in what is published."""

from pathlib import Path

from loramerge.recipe import parse
from loramerge.recipe.own_paths import private_paths

HERE = Path("/home/me/recipes")
TEXT = """\
version: 1
name: small  # lies in /home/me/recipes/small.yaml
base: {source: "/home/me/recipes/models/base"}
loras:
  - {name: a, source: /home/me/recipes//a.safetensors}
  - {name: b, source: /home/me/recipes2/b.safetensors}
  - {name: c, source: /mnt/home/me/recipes/c.safetensors}
  - {name: d, source: /home/me/recipes/~d.safetensors}
  - {name: e, source: hf://owner/e}
  - {name: f, source: ../f.safetensors}
  - {name: g, source: '/home/me/recipes/hf:g'}
merge: {combination_type: cat}
outputs: [{kind: adapter, format: kohya}]
publish:
  - {kind: folder, path: /home/me/recipes/target}
  - {kind: folder, path: /home/me/models/loras}
  - {kind: folder, path: ~/models/loras}
"""


def test_what_lies_in_the_recipe_s_folder_is_spelt_from_there():
    recipe = parse(TEXT, origin="small.yaml", folder=HERE)
    assert [recipe.base.source, *(lora.source for lora in recipe.loras)] == [
        "models/base",
        "a.safetensors",
        "/home/me/recipes2/b.safetensors",
        "/mnt/home/me/recipes/c.safetensors",
        "/home/me/recipes/~d.safetensors",
        "hf://owner/e",
        "../f.safetensors",
        "/home/me/recipes/hf:g",
    ]
    assert [target.spelling for target in recipe.publish] == ["target", "/home/me/models/loras", "~/models/loras"]
    assert "# lies in small.yaml" in recipe.text
    again = parse(recipe.text, origin="recipe.yaml", folder=Path("/elsewhere"))
    assert again == recipe
    assert again.text == recipe.text


def test_a_value_that_is_set_is_spelt_from_there_as_well():
    recipe = parse(TEXT, origin="-", folder=HERE, overrides=["loras.0.source=/home/me/recipes/new.safetensors"])
    assert recipe.loras[0].source == "new.safetensors"
    assert "source: new.safetensors" in recipe.text


def test_absolute_paths_are_named():
    recipe = parse(TEXT, origin="small.yaml", folder=HERE)
    assert private_paths(recipe) == (
        "/home/me/recipes2/b.safetensors",
        "/mnt/home/me/recipes/c.safetensors",
        "/home/me/recipes/~d.safetensors",
        "/home/me/recipes/hf:g",
        "/home/me/models/loras",
    )
