"""Several LoRAs become one: exact, reproducible, published.

>>> from loramerge import read_recipe, run
>>> result = run(read_recipe("recipes/quickstart.yaml"))  # doctest: +SKIP

The same in steps: `load_base`, `load_adapter`, `combine`. Everything raises `LoramergeError` or a kind of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.errors import LoramergeError
    from loramerge.lock.model import Lock
    from loramerge.lock.model import read as read_lock
    from loramerge.progress import Progress, ProgressLines
    from loramerge.recipe import Recipe
    from loramerge.recipe import read as read_recipe
    from loramerge.recipe import read_each as read_recipes
    from loramerge.recipe.variants import Variants, read_variants
    from loramerge.stages.base import load_base
    from loramerge.stages.combine import Combined, WeightedAdapter, combine
    from loramerge.stages.convert import Converted, convert
    from loramerge.stages.grid import grid
    from loramerge.stages.load_adapter import load_adapter
    from loramerge.stages.lock import lock as lock_sources
    from loramerge.stages.merge import MergedLora, merge
    from loramerge.stages.plan import plan
    from loramerge.stages.plan_steps import Plan
    from loramerge.stages.preview import Previewed, preview
    from loramerge.stages.publish import publish
    from loramerge.stages.run import Result, run
    from loramerge.stages.tune import Tuned, tune
    from loramerge.stages.verify import Verified, verify

__all__ = [
    "Adapter",
    "Combined",
    "Converted",
    "Lock",
    "LoramergeError",
    "LowRank",
    "MergedLora",
    "Plan",
    "Previewed",
    "Progress",
    "ProgressLines",
    "Recipe",
    "Result",
    "Tuned",
    "Variants",
    "Verified",
    "WeightedAdapter",
    "combine",
    "convert",
    "grid",
    "load_adapter",
    "load_base",
    "lock_sources",
    "merge",
    "plan",
    "preview",
    "publish",
    "read_lock",
    "read_recipe",
    "read_recipes",
    "read_variants",
    "run",
    "tune",
    "verify",
]

# Imported when first asked for: `loramerge validate` must not wait for what only `run` needs.
_HOMES = {
    "Adapter": ("loramerge.adapter", "Adapter"),
    "Combined": ("loramerge.stages.combine", "Combined"),
    "Converted": ("loramerge.stages.convert", "Converted"),
    "Lock": ("loramerge.lock.model", "Lock"),
    "LoramergeError": ("loramerge.errors", "LoramergeError"),
    "LowRank": ("loramerge.adapter", "LowRank"),
    "MergedLora": ("loramerge.stages.merge", "MergedLora"),
    "Plan": ("loramerge.stages.plan_steps", "Plan"),
    "Previewed": ("loramerge.stages.preview", "Previewed"),
    "Progress": ("loramerge.progress", "Progress"),
    "ProgressLines": ("loramerge.progress", "ProgressLines"),
    "Recipe": ("loramerge.recipe", "Recipe"),
    "Result": ("loramerge.stages.run", "Result"),
    "Tuned": ("loramerge.stages.tune", "Tuned"),
    "Variants": ("loramerge.recipe.variants", "Variants"),
    "Verified": ("loramerge.stages.verify", "Verified"),
    "WeightedAdapter": ("loramerge.stages.combine", "WeightedAdapter"),
    "combine": ("loramerge.stages.combine", "combine"),
    "convert": ("loramerge.stages.convert", "convert"),
    "grid": ("loramerge.stages.grid", "grid"),
    "load_adapter": ("loramerge.stages.load_adapter", "load_adapter"),
    "load_base": ("loramerge.stages.base", "load_base"),
    "lock_sources": ("loramerge.stages.lock", "lock"),
    "merge": ("loramerge.stages.merge", "merge"),
    "plan": ("loramerge.stages.plan", "plan"),
    "preview": ("loramerge.stages.preview", "preview"),
    "publish": ("loramerge.stages.publish", "publish"),
    "read_lock": ("loramerge.lock.model", "read"),
    "read_recipe": ("loramerge.recipe", "read"),
    "read_recipes": ("loramerge.recipe", "read_each"),
    "read_variants": ("loramerge.recipe.variants", "read_variants"),
    "run": ("loramerge.stages.run", "run"),
    "tune": ("loramerge.stages.tune", "tune"),
    "verify": ("loramerge.stages.verify", "verify"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("loramerge")
    if name not in _HOMES:
        raise AttributeError(f"module 'loramerge' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
