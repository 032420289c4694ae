"""A folder with a base, two LoRAs, recipes, targets and a Hub, and what each command makes of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreign
import tiny
from endurance.driver import Driver, Outcome, driving
from hub.environment import HUB
from hub.example import OWNER
from killing import few_certificates

from loramerge.files.digest import sha256_of

REPO = "tester/small"
Tree = Mapping[str, str]


@dataclass(frozen=True)
class Errand:
    """A command that makes something, of one version and of another.

    Attributes:
        name: What it is called.
        arguments: Its command line; `{version}` is 0 or 1.
        prepare: Makes a folder ready for a version.
        units: Each is replaced in one step: a file, a folder, or `hub`.
        varies: Names of files that no two runs make alike.
        code: Its exit code.
    """

    name: str
    arguments: str
    prepare: Callable[[Path, int], None]
    units: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()
    code: int = 0

    def units_of(self, tree: Tree) -> dict[str, dict[str, str]]:
        """Unit → what it holds."""
        return {
            unit: {name: each for name, each in tree.items() if name == unit or name.startswith(f"{unit}/")}
            for unit in self.units
        }


@dataclass(frozen=True)
class Place:
    """A folder in which one errand is run.

    Attributes:
        folder: Where.
        errand: What is run.
        driver: Who runs it.
    """

    folder: Path
    errand: Errand
    driver: Driver

    def prepare(self, version: int) -> None:
        """Make it ready for a version."""
        self.errand.prepare(self.folder, version)

    def start(self, version: int, **options: Any) -> None:
        """Begin to run; the options are those of the driver."""
        words = self.errand.arguments.format(version=version).split()
        self.driver.start(*words, cwd=self.folder, **options)

    def run(self, version: int, **options: Any) -> Outcome:
        """Run to the end."""
        self.start(version, **options)
        return self.driver.wait()

    def tree(self) -> Tree:
        """Everything that is there but for what varies: name → digest, target of a link, or `folder`."""
        found = {}
        for here, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = Path(here, name)
                shown = str(path.relative_to(self.folder))
                if path.is_symlink():
                    found[shown] = f"-> {path.readlink()}"
                elif shown not in self.errand.varies:
                    found[shown] = sha256_of(path) if path.is_file() else "folder"
        repository = HUB.store.repositories.get(("model", REPO))
        if repository is not None:
            found |= {f"hub/{name}": blob.git_id for name, blob in repository.resolve("main").files.items()}
        return found

    def known(self) -> Known:
        """What each version leaves, and what it takes to make the second of the first.

        Raises:
            AssertionError: It does not leave the same twice.
        """
        trees, last = [], None
        for version in (0, 1, 0, 1):
            self.prepare(version)
            last = self.run(version)
            assert last.code == self.errand.code, last.said
            trees.append(self.tree())
        assert last is not None
        assert (trees[0], trees[1]) == (trees[2], trees[3]), different(trees[0], trees[2])
        return Known((trees[0], trees[1]), last)


@dataclass(frozen=True)
class Known:
    """What is there after each version, and how the second was made of the first."""

    trees: tuple[Tree, Tree]
    change: Outcome


def different(one: Tree, other: Tree) -> list[str]:
    """Names that are not the same."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


@contextmanager
def world(root: Path) -> Iterator[World]:
    """An empty Hub but for a LoRA, and what commands need."""
    HUB.reset()
    store = root / "inputs"
    store.mkdir(parents=True)
    shutil.copytree(tiny.folder("sd15"), store / "base")
    for seed, name in enumerate("abd"):
        write_lora(store / f"{name}.safetensors", seed)
    HUB.repository("me/b", {"b.safetensors": (store / "b.safetensors").read_bytes()})
    HUB.store.create("model", REPO)
    (root / "tmp").mkdir()
    env = {
        "XDG_CACHE_HOME": str(root / "cache"),
        "HF_HUB_CACHE": str(root / "hub"),
        "HF_TOKEN": OWNER,
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(root / "tmp"),
        **few_certificates(root),
    }
    with driving(root, env) as driver:
        yield World(root, driver, env)
    HUB.reset()


@dataclass(frozen=True)
class World:
    """Where everything is tried.

    Attributes:
        root: Of all folders and caches.
        driver: Runs commands.
        env: Variables that the driver has besides.
    """

    root: Path
    driver: Driver
    env: Mapping[str, str]

    def place(self, errand: Errand) -> Place:
        """A folder for an errand, with its inputs."""
        folder = self.root / re.sub(r"\W+", "-", errand.name)
        shutil.copytree(self.root / "inputs", folder)
        HUB.store.repositories.pop(("model", REPO), None)
        HUB.store.create("model", REPO)
        return Place(folder, errand, self.driver)

    def litter(self) -> list[str]:
        """What is left where nothing may be left: temporary files."""
        return sorted(str(path) for path in (self.root / "tmp").iterdir())


def write_lora(file: Path, seed: int) -> None:
    """A LoRA of rank 2 for the base."""
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=2, alpha=2.0, seed=seed, modules=r"mid_block.*attn1")
    foreign.write_diffusers(pairs, file)
