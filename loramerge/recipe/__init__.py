"""The recipe: what a YAML file may say, how it is read, and how its mistakes are explained."""

from loramerge.recipe.model import Recipe, parse, read
from loramerge.recipe.parts import BaseSource, Lora, Preview

__all__ = ["BaseSource", "Lora", "Preview", "Recipe", "parse", "read"]
