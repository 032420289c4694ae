"""Tries the package that `make wheel` built where nothing of this checkout is: `make package`.

    python tests/release/run.py [--torch-index URL]

The wheel is installed into an empty environment, with the versions of constraints.txt where Python is not too old for
them. There it says its version, validates the quickstart that the sdist has, merges, runs it and verifies what came
out. What is installed then is written down as a bill of materials, build/sbom/loramerge-VERSION.cdx.json. At last pipx
runs the wheel. Takes minutes, and the package registry.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from release.package import Package, found  # noqa: E402  it lies in this folder

HELD = ["--constraint", str(ROOT / "constraints.txt")] if sys.version_info >= (3, 11) else []
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
TOOLS = Path(sys.executable).parent
LORAS = ["recipes/quickstart/ink.safetensors:0.7", "recipes/quickstart/glow.safetensors:0.8"]
QUICKSTART = "recipes/quickstart.yaml"


def main() -> None:
    """Check the files, and try the wheel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-index", help="where torch comes from, such as its index of wheels without CUDA")
    options = parser.parse_args()
    package = found(ROOT / "build" / "package")
    ran(TOOLS / "twine", "check", "--strict", package.sdist, package.wheel)
    with tempfile.TemporaryDirectory(prefix="loramerge-") as name:
        place = Path(name).resolve()
        python = installed(package, place, options.torch_index)
        tried(package, place, python)
        listed(package, place, python)
        piped(package, place, options.torch_index)


def ran(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command, show it and what it says, and end where it fails."""
    print("$", *(str(each).replace(f"{ROOT}{os.sep}", "") for each in command), flush=True)
    kept = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}}
    done = subprocess.run(command, cwd=cwd, env={**kept, **environment}, text=True, stdout=subprocess.PIPE, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"error: it ended with exit code {done.returncode}")
    return done.stdout


def installed(package: Package, place: Path, torch_index: str | None) -> Path:
    """An environment with the wheel and what it needs, not even pip; its Python."""
    ran(sys.executable, "-m", "venv", "--without-pip", place / "venv")
    (python,) = [*place.glob("venv/bin/python"), *place.glob("venv/Scripts/python.exe")]
    pip = [*PIP, "--python", str(python)]
    if torch_index:
        ran(*pip, "install", *HELD, "--no-deps", "--index-url", torch_index, "torch")
    # By its name, so that nothing that is installed leads to this folder.
    version = package.wheel.name.split("-")[1]
    ran(*pip, "install", *HELD, "--find-links", package.wheel.parent, f"loramerge=={version}")
    ran(*pip, "check")
    return python


def tried(package: Package, place: Path, python: Path) -> None:
    """Use it as anybody would who has the wheel and the sdist's recipes."""
    with tarfile.open(package.sdist) as archive:
        archive.extractall(place, filter="data")
    (source,) = place.glob("loramerge-*")
    work = place / "work"
    work.mkdir()
    shutil.move(source / "recipes", work)
    shutil.rmtree(source)  # so that nothing but the wheel can be imported
    own = {"XDG_CACHE_HOME": str(place / "cache"), "HF_HUB_OFFLINE": "1"}

    def loramerge(*arguments: str) -> str:
        return ran(python.with_name("loramerge"), *arguments, cwd=work, **own)

    version = package.wheel.name.split("-")[1]
    said = loramerge("--version")
    if not said.startswith(f"loramerge {version}\npython ") or ", torch " not in said:
        sys.exit(f"error: --version should say loramerge {version}, and the libraries that decide bytes")
    where = ran(python, "-c", "import loramerge; print(loramerge.__file__)", cwd=work, **own)
    if not Path(where.strip()).resolve().is_relative_to(place):
        sys.exit("error: that is not what was installed")
    loramerge("--help")
    loramerge("validate", QUICKSTART)
    loramerge("merge", *LORAS, "--base", "recipes/quickstart/base", "-o", "ink-glow.safetensors")
    loramerge("inspect", "ink-glow.safetensors", "--base", "recipes/quickstart/base")
    loramerge("run", QUICKSTART)
    loramerge("verify", "dist/quickstart")


def listed(package: Package, place: Path, python: Path) -> None:
    """What is installed, as CycloneDX; it is validated against the schema before it is written."""
    del place
    version = package.wheel.name.split("-")[1]
    target = ROOT / "build" / "sbom" / f"loramerge-{version}.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["environment", "--pyproject", ROOT / "pyproject.toml", "--mc-type", "library", "--output-reproducible"]
    ran(TOOLS / "cyclonedx-py", *command, "--validate", "--output-file", target, python)
    if str(python.parent) in target.read_text(encoding="utf-8"):
        sys.exit(f"error: {target} names a folder of this machine")


def piped(package: Package, place: Path, torch_index: str | None) -> None:
    """Run it with pipx, which makes an environment of its own."""
    home = {"PIPX_HOME": str(place / "pipx"), "PIPX_BIN_DIR": str(place / "bin"), "PIPX_MAN_DIR": str(place / "man")}
    held = {"PIP_CONSTRAINT": HELD[1]} if HELD else {}
    index = [f"--pip-args=--extra-index-url {torch_index}"] if torch_index else []
    pipx = [TOOLS / "pipx", "run", "--python", sys.executable, *index, "--spec", package.wheel]
    ran(*pipx, "loramerge", "--version", cwd=place, **home, **held)


if __name__ == "__main__":
    main()
