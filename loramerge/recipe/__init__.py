"""The recipe: what a YAML file may say, how it is read, and how its mistakes are explained."""

from loramerge.recipe.model import Base, Lora, Preview, Recipe, parse, read

__all__ = ["Base", "Lora", "Preview", "Recipe", "parse", "read"]
