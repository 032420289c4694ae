"""Combination types, PEFT's and others. One file per family; `METHODS` lists their classes, `Merge` is any of them."""

from typing import Annotated, get_args

from pydantic import Field

from loramerge.methods.breadcrumbs import Breadcrumbs
from loramerge.methods.cat import Cat
from loramerge.methods.dare import DareLinear, DareLinearSvd, DareTies, DareTiesSvd
from loramerge.methods.della import Della
from loramerge.methods.iso_c import IsoC
from loramerge.methods.iso_cts import IsoCts
from loramerge.methods.karcher import Karcher
from loramerge.methods.linear import Linear
from loramerge.methods.magnitude_prune import MagnitudePrune, MagnitudePruneSvd
from loramerge.methods.method import Method
from loramerge.methods.nuslerp import NuSlerp
from loramerge.methods.part import PartRule
from loramerge.methods.sce import Sce
from loramerge.methods.svd import Svd
from loramerge.methods.ties import Ties, TiesSvd
from loramerge.methods.tsv import Tsv

__all__ = [
    "METHODS",
    "Breadcrumbs",
    "Cat",
    "DareLinear",
    "DareLinearSvd",
    "DareTies",
    "DareTiesSvd",
    "Della",
    "IsoC",
    "IsoCts",
    "Karcher",
    "Linear",
    "MagnitudePrune",
    "MagnitudePruneSvd",
    "Merge",
    "Method",
    "NuSlerp",
    "PartRule",
    "Sce",
    "Svd",
    "Ties",
    "TiesSvd",
    "Tsv",
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
    | Tsv
    | IsoC
    | IsoCts
    | Karcher
    | NuSlerp
    | Della
    | Breadcrumbs
    | Sce
)
METHODS: tuple[type[Method], ...] = get_args(AnyMethod)
Merge = Annotated[AnyMethod, Field(discriminator="combination_type")]
