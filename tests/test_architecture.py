"""The house: which folder may import which, and which heavy library each may ask for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

from loramerge import deltas, engines, formats, methods, outputs, sources, targets

PACKAGE = Path(__file__).parents[1] / "loramerge"
TOP = ("masking", "messages", "errors", "progress", "retrying", "fields", "adapter")

# Bottom to top: folder → folders that it may import, all of them above it here.
HOUSE = {
    "numerics": "",
    "files": "",
    "artifact": "files",
    "cluster": "artifact files",
    "hub": "files",
    "registry": "files",
    "storage": "numerics files",
    "sources": "files hub registry storage",
    "documents": "files sources",
    "families": "",
    "bases": "families files",
    "deltas": "numerics",
    "tensor_files": "files numerics deltas",
    "formats": "files families bases numerics deltas tensor_files",
    "methods": "numerics",
    "extraction": "bases numerics deltas tensor_files",
    "merging": "documents bases numerics deltas",
    "engines": "bases numerics methods merging",
    "outputs": "files bases tensor_files formats",
    "targets": "files artifact hub registry storage formats",
    "recipe": "artifact sources documents families formats methods merging outputs targets",
    "lock": "files sources documents families",
    "previews": "files artifact bases formats merging recipe",
    "analysis": "files sources families bases numerics deltas tensor_files formats merging",
    "search": "files cluster bases numerics documents previews recipe",
    "provenance": "files artifact sources tensor_files recipe lock analysis",
    "reports": "files artifact sources documents families bases formats recipe analysis provenance",
    "stages": "files artifact cluster sources families bases numerics tensor_files formats extraction merging engines "
    "targets recipe lock previews analysis search provenance reports",
    "cli": "files artifact cluster documents families bases numerics formats merging recipe lock analysis provenance "
    "stages",
}
LIBRARIES = {
    "torch": "artifact numerics deltas tensor_files formats methods extraction merging engines previews analysis "
    "search bases",
    "numpy": "numerics deltas search provenance",
    "safetensors": "",
    "diffusers": "bases previews",
    "transformers": "bases previews search",
    "peft": "engines formats",
    "accelerate": "",
    "huggingface_hub": "hub sources targets",
    "oras": "registry",
    "requests": "registry",
    "s3fs": "storage",
    "fsspec": "storage",
    "botocore": "storage",
    "aiohttp": "storage",
    "PIL": "previews search reports provenance",
    "jinja2": "reports",
    "matplotlib": "search reports",
    "optuna": "search",
    "cyclonedx": "provenance",
    "packageurl": "provenance",
    "model_signing": "provenance",
    "sigstore": "provenance",
    "cryptography": "provenance",
    "ray": "cluster",
    "click": "cli",
    "rich": "cli",
}
PLUGINS = {
    "deltas": deltas.KINDS,
    "engines": engines.ENGINES.values(),
    "formats": formats.FORMATS,
    "methods": methods.METHODS,
    "outputs": outputs.OUTPUTS,
    "sources": sources.SOURCES,
    "targets": targets.TARGETS,
}
# What the plug-ins of a folder share.
SHARED = {
    "engines": {"exact_lora_model", "module_groups"},
    "deltas": {"computed", "concatenated", "dora", "kind", "rescaled", "stored", "transposed"},
    "formats": {
        "adapter_output", "alphas", "assemble", "denoiser_files", "dora", "embeddings", "experts", "inner_model",
        "kohya_labels", "labels", "loading", "lora_file", "lora_files", "model_spec", "module_names", "module_pattern",
        "named_file", "original_names", "output", "parameter_keys", "peft_config", "pipeline_code", "reading",
        "refused", "same_throughout", "saved", "sidecars", "single_file", "spelling", "split_layers", "stacked_pairs",
        "told_family", "trigger_words",
    },
    "methods": {"method", "parameters", "part", "rank", "spectral", "sphere_mean", "svd_parameters"},
    "outputs": {"fuse", "fuse_file", "fuse_model", "fused", "load_file", "prepared", "scheduler"},
    "sources": {"blob_cache", "download", "inputs", "keeping", "listing", "object_cache", "source"},
    "targets": {
        "folder_contents", "folder_orphans", "folder_publication", "held", "hub_publication", "hub_state",
        "oci_publication", "oci_removal", "oci_state", "record", "s3_contents", "s3_publication", "target",
    },
}  # fmt: skip

FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def room(name):
    """The folder of a module; its own name for one of the top level."""
    return name.partition("/")[0].removesuffix(".py")


def imports(name, nodes=None, *, at_top=True):
    """(full name, whether it is imported at once) of what a module imports when it runs, not for types alone."""
    for node in tree(name).body if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are absolute"
            yield from ((f"{node.module}.{alias.name}", at_top) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(name, node.orelse, at_top=at_top)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(name, ast.iter_child_nodes(node), at_top=at_top and not inside)


def found(check):
    """Every import of the package that a check objects to."""
    return [f"{name} imports {what}" for name in FILES for what, at_top in imports(name) if check(name, what, at_top)]


def test_the_folders_are_those_of_the_house():
    assert {room(name) for name in FILES} == {*HOUSE, *TOP, "__init__", "__main__"}


def test_a_folder_imports_only_from_those_above_it():
    order = [*TOP, *HOUSE]
    for folder, below in HOUSE.items():
        assert [*filter(lambda each: order.index(each) >= order.index(folder), below.split())] == []

    def is_wrong(name, what, at_top):
        del at_top
        package, _, rest = what.partition(".")
        there, here = rest.partition(".")[0], room(name)
        if package != "loramerge" or here in {there, "__init__", "__main__"}:
            return False
        if here == "cli" and there not in order:  # the public interface, as any user of it
            return False
        return there not in {*(TOP[: TOP.index(here)] if here in TOP else TOP), *HOUSE.get(here, "").split()}

    assert found(is_wrong) == []


def test_no_permission_is_left_unused():
    used = defaultdict(set)
    for name in FILES:
        for what, _ in imports(name):
            parts = what.split(".")
            used[room(name)].add(parts[1] if parts[0] == "loramerge" else parts[0])
    assert {folder: set(below.split()) - used[folder] for folder, below in HOUSE.items()} == {
        folder: set() for folder in HOUSE
    }
    assert {
        library: [folder for folder in folders.split() if library not in used[folder]]
        for library, folders in LIBRARIES.items()
    } == {library: [] for library in LIBRARIES}


def test_each_heavy_library_has_its_doors():
    assert found(lambda name, what, _: room(name) not in LIBRARIES.get(what.split(".")[0], room(name)).split()) == []


def test_heavy_libraries_are_imported_where_they_are_used():
    light = {"click"}
    assert found(lambda _, what, at_top: at_top and what.split(".")[0] in LIBRARIES.keys() - light) == []


def test_importing_everything_loads_nothing_heavy():
    modules = [f"loramerge.{name[:-3]}".replace("/", ".").removesuffix(".__init__") for name in FILES]
    modules.remove("loramerge.__main__")
    heavy = LIBRARIES.keys() - {"click", "rich"}
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_plugin_is_listed_in_its_folder():
    for kind, listed in PLUGINS.items():
        there = {Path(name).stem for name in FILES if room(name) == kind} - {"__init__"}
        assert {each.__module__.rpartition(".")[2] for each in listed} == there - SHARED.get(kind, set()), kind


def test_nobody_asks_what_a_plugin_is():
    """The parsed object acts: outside its own folder no class of a plug-in is asked for."""
    homes = {each.__name__: kind for kind, listed in PLUGINS.items() for each in listed if isinstance(each, type)}
    homes |= {base.__name__: kind for kind, listed in PLUGINS.items() for each in listed if isinstance(each, type)
              for base in each.__mro__ if base.__module__.startswith(f"loramerge.{kind}.")}  # fmt: skip
    asked = []
    for name in FILES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"isinstance", "issubclass"}:
                classes = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
            elif isinstance(node, ast.MatchClass):
                classes = {ast.unparse(node.cls)}
            else:
                continue
            asked += [f"{name}:{node.lineno} {each}" for each in classes if homes.get(each, room(name)) != room(name)]
    assert asked == []


def test_no_name_means_two_things():
    classes, functions = Counter(), defaultdict(set)
    for name in FILES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ClassDef):
                classes[node.name] += 1
        for node in tree(name).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("_"):
                functions[node.name].add(name)
    assert [each for each, count in classes.items() if count > 1] == []
    assert {each: sorted(files) for each, files in functions.items() if len(files) > 2} == {}


def test_files_are_read_through_one_door():
    """A named pipe keeps its reader waiting, and a device has no end: `files/reading.py` takes plain files only."""
    past = []
    for name in FILES:
        for node in ast.walk(tree(name)):
            if room(name) == "files" or not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            call = ast.unparse(node)
            opens = node.func.attr == "open" and ast.unparse(node.args[0]) in {"'rb'", "'r'"} if node.args else False
            if (node.func.attr in {"read_text", "read_bytes"} or opens) and "files('loramerge" not in call:
                past.append(f"{name}:{node.lineno} {call}")
    assert past == []


def test_modules_are_small():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lengths.items() if length > 250} == {}
