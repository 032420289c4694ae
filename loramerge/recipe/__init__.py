"""The recipe: what a YAML file may say, how it is read, and how its mistakes are explained."""

from loramerge.recipe.model import Recipe
from loramerge.recipe.parts import BaseSource, Lora, Preview
from loramerge.recipe.reading import parse, parse_each, read, read_each

__all__ = ["BaseSource", "Lora", "Preview", "Recipe", "parse", "parse_each", "read", "read_each"]
