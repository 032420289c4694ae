"""PEFT's combination types. One file per family; `METHODS` lists their classes, and `Merge` is any of them."""

from typing import Annotated, get_args

from pydantic import Field

from loramerge.methods.cat import Cat
from loramerge.methods.dare import DareLinear, DareLinearSvd, DareTies, DareTiesSvd
from loramerge.methods.linear import Linear
from loramerge.methods.magnitude_prune import MagnitudePrune, MagnitudePruneSvd
from loramerge.methods.method import Method
from loramerge.methods.svd import Svd
from loramerge.methods.ties import Ties, TiesSvd

__all__ = [
    "METHODS",
    "Cat",
    "DareLinear",
    "DareLinearSvd",
    "DareTies",
    "DareTiesSvd",
    "Linear",
    "MagnitudePrune",
    "MagnitudePruneSvd",
    "Merge",
    "Method",
    "Svd",
    "Ties",
    "TiesSvd",
]

AnyMethod = (
    Cat
    | Svd
    | Linear
    | Ties
    | TiesSvd
    | DareLinear
    | DareTies
    | DareLinearSvd
    | DareTiesSvd
    | MagnitudePrune
    | MagnitudePruneSvd
)
METHODS: tuple[type[Method], ...] = get_args(AnyMethod)
Merge = Annotated[AnyMethod, Field(discriminator="combination_type")]
