"""A bill of materials of an artifact: CycloneDX 1.6, with the models that went in as machine-learning models.

https://cyclonedx.org/docs/1.6/json. It is told from the artifact's papers alone and has no date: the same artifact is
the same bill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.errors import LoramergeError
from loramerge.files.reading import text_of
from loramerge.provenance.definition import Definition
from loramerge.provenance.licence import UNKNOWN
from loramerge.sources.oci import parts_of

if TYPE_CHECKING:
    from pathlib import Path

    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License
    from packageurl import PackageURL

    from loramerge.lock.model import LockedSource

_HUB = "hf://"
_REPORT = "report.json"


def bill_of_materials(artifact: Path) -> str:
    """What an artifact consists of and was made of, as JSON.

    Args:
        artifact: Its folder.

    Raises:
        LoramergeError: Its papers are missing or damaged, or what writes such a bill is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        raise LoramergeError(
            f"a bill of materials is written by cyclonedx-python-lib, which can't be imported: {error}",
            hint="pip install 'loramerge[bom]'",
        ) from None
    definition, statement = Definition.of_artifact(artifact), _statement(artifact)
    bill = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"urn:loramerge:{_identity_of(statement)}"))
    whole = _artifact(artifact, definition, statement)
    bill.metadata.component = whole
    models = [*_models(definition)]
    for model in models:
        bill.components.add(model)
    for tool in _tools(statement):
        bill.metadata.tools.components.add(tool)
    bill.register_dependency(whole, models)
    data = json.loads(JsonV1Dot6(bill).output_as_string())
    del data["metadata"]["timestamp"]
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _statement(artifact: Path) -> Statement:
    place = artifact / STATEMENT
    try:
        return Statement.parse(text_of(place))
    except FileNotFoundError:
        raise LoramergeError(
            f"{artifact} has no {STATEMENT}, so nothing says what its files are", hint="make the artifact anew"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise LoramergeError(f"{place} can't be read: {why}", hint="make the artifact anew") from None


def _identity_of(statement: Statement) -> str:
    return "".join(f"{name}:{sha256};" for name, sha256 in sorted(statement.subjects.items()))


def _artifact(artifact: Path, definition: Definition, statement: Statement) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    recipe = definition.recipe
    return Component(
        name=str(recipe["name"]),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="artifact",
        description=str(recipe.get("description") or "") or None,
        licenses=_licences(_licence_of(artifact)),
        components=[_file("artifact", name, sha256) for name, sha256 in sorted(statement.subjects.items())],
        properties=_properties({"combination type": recipe["merge"]["combination_type"]}),
    )


def _licence_of(artifact: Path) -> str | None:
    try:
        said = json.loads(text_of(artifact / _REPORT)).get("license")
    except (OSError, ValueError, AttributeError):  # it is told without
        return None
    return said if isinstance(said, str) and said != UNKNOWN else None


def _models(definition: Definition) -> Iterator[Component]:
    sources = definition.lock.sources
    weights = {str(each["name"]): each.get("weight", 1.0) for each in definition.recipe["loras"]}
    if sources.base is not None:
        yield _model("base", sources.base, {"role": "base"})
    if sources.config is not None:
        yield _model("config", sources.config, {"role": "config of the base"})
    for name, source in sources.beside.items():
        yield _model(f"component/{name}", source, {"role": "component", "component": name})
    for name, source in sources.loras.items():
        yield _model(f"lora/{name}", source, {"role": "LoRA", "name": name, "weight": weights.get(name)})


def _model(reference: str, source: LockedSource, said: Mapping[str, Any]) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    files = [_file(reference, name, file.sha256) for name, file in sorted(source.files.items())]
    return Component(
        name=_name_of(source.source),
        version=source.commit,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=reference,
        purl=_purl(source),
        licenses=_licences(source.licence),
        hashes=_hashes(next(iter(source.files.values())).sha256) if len(files) == 1 else None,
        components=files,
        properties=_properties({key: value for key, value in said.items() if value is not None}),
    )


def _name_of(source: str) -> str:
    """As the recipe has it, and no place of this machine."""
    absolute = source.startswith(("/", "~")) or PureWindowsPath(source).drive
    return PureWindowsPath(source).name if absolute else source


def _purl(source: LockedSource) -> PackageURL | None:
    """pkg:huggingface/owner/name@commit or pkg:oci/name@digest, as https://github.com/package-url/purl-spec has it."""
    from packageurl import PackageURL

    if found := parts_of(source.source):
        host, name, path = found
        place = {"repository_url": f"{host}/{name}"}
        return PackageURL("oci", None, name.rpartition("/")[2], source.commit, place, path or None)
    if not source.source.startswith(_HUB):
        return None
    owner, _, rest = source.source.removeprefix(_HUB).partition("/")
    name, _, path = rest.partition("/")
    return PackageURL("huggingface", owner, name.partition("@")[0].lower(), source.commit, subpath=path or None)


def _file(of: str, name: str, sha256: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(name=name, type=ComponentType.FILE, bom_ref=f"{of}:{name}", hashes=_hashes(sha256))


def _hashes(sha256: str) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]


def _licences(said: str | None) -> list[License]:
    """As SPDX has it where it is such a licence, else by the name that the Hub has for it."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    if said is None:
        return []
    return [LicenseFactory().make_from_string(said)]


def _tools(statement: Statement) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType

    environment = statement.predicate.get("buildDefinition", {}).get("internalParameters", {}).get("environment", {})
    for name in ("loramerge", "torch", "peft", "diffusers", "transformers", "safetensors", "numpy"):
        if name in environment:
            kind = ComponentType.APPLICATION if name == "loramerge" else ComponentType.LIBRARY
            yield Component(name=name, version=str(environment[name]), type=kind, bom_ref=f"tool/{name}")


def _properties(said: Mapping[str, Any]) -> list[Any]:
    from cyclonedx.model import Property

    texts = {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in said.items()}
    return [Property(name=f"loramerge:{key}", value=text) for key, text in texts.items()]
