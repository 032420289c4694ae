"""Several LoRAs become one: exact, reproducible, published.

>>> from loramerge import read_recipe, run
>>> result = run(read_recipe("recipes/quickstart.yaml"))  # doctest: +SKIP

The same in steps: `load_base`, `load_adapter`, `combine`. Everything raises `LoramergeError` or a kind of it.
"""

from loramerge.adapter import Adapter, LowRank
from loramerge.combine import Combined, WeightedAdapter, combine
from loramerge.errors import LoramergeError
from loramerge.load import load_adapter, load_base
from loramerge.recipe import Recipe
from loramerge.recipe import read as read_recipe
from loramerge.run import Result, run

__all__ = [
    "Adapter",
    "Combined",
    "LoramergeError",
    "LowRank",
    "Recipe",
    "Result",
    "WeightedAdapter",
    "combine",
    "load_adapter",
    "load_base",
    "read_recipe",
    "run",
]
