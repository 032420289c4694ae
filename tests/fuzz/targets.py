"""What reads bytes of strangers, a function each: it takes them, or says what is wrong. All else is a defect."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fuzz.answering import answering

from loramerge import load_adapter
from loramerge.artifact import model_card
from loramerge.artifact.in_toto import Statement
from loramerge.bases.published import architecture
from loramerge.errors import LoramergeError
from loramerge.files.file_view import FileBytes
from loramerge.files.tensor_header import read_header
from loramerge.formats.spelling import spelled
from loramerge.hub.listing import CardFacts
from loramerge.lock import model as locks
from loramerge.provenance.provenance import Provenance
from loramerge.recipe import parse_each
from loramerge.registry import model_pack
from loramerge.registry.manifest import Descriptor, MalformedError, Manifest
from loramerge.sources.hub import HubSource
from loramerge.sources.source import Given
from loramerge.targets.record import Record

ROOT = Path(__file__).parents[2]
_MEMORY = Path("/dev/shm")  # noqa: S108  a folder that is no disk, where there is one


@dataclass(frozen=True)
class Target:
    """What is tried.

    Attributes:
        run: Takes bytes, or raises what a user is shown.
        seeds: Gives bytes that it takes.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]

    def __call__(self, data: bytes) -> None:
        """Try some bytes.

        Raises:
            Exception: A defect.
        """
        with suppress(LoramergeError):
            self.run(data)


def _recipe(data: bytes) -> object:
    return parse_each(data.decode("utf-8", "replace"), origin="r.yaml", folder=Path("/nowhere"))


def _set(data: bytes) -> object:
    text = (ROOT / "recipes" / "ikea-feng.yaml").read_text(encoding="utf-8")
    setting = data.decode("utf-8", "replace")
    return parse_each(text, origin="r.yaml", folder=Path("/nowhere"), overrides=[setting])


def _lock(data: bytes) -> object:
    return locks.text(locks.read(_written("lock.yaml", data)))


def _header(data: bytes) -> object:
    return read_header(FileBytes.at(_written("header.safetensors", data), "x"))


def _lora(data: bytes) -> object:
    return load_adapter(str(_written("lora.safetensors", data)), _base())


def _adapter_config(data: bytes) -> object:
    folder = _written("peft/adapter_config.json", data).parent
    _written("peft/adapter_model.safetensors", _small("base_model.model.{}.lora_{}.weight"))
    return load_adapter(str(folder), _base())


def _key(data: bytes) -> object:
    return spelled(data.decode("utf-8", "replace"))


def _provenance(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (Statement.parse, Provenance.parse):
        with suppress(ValueError):  # which whoever reads a file puts into words
            parse(text)


def _manifest(data: bytes) -> object:
    with suppress(MalformedError):  # which whoever asked a registry puts into words
        found = Manifest.parse(data)
        return found.files, found.digest, [layer.is_archive for layer in found.layers]
    return None


def _card(data: bytes) -> None:
    place, text = _written("README.md", data), data.decode("utf-8", "replace")
    CardFacts.here(place)
    model_card.digest(data)
    assert model_card.merged(_OURS, text)


def _record(data: bytes) -> None:
    found = Record.parse(data.decode("utf-8", "replace"))
    if found is not None:
        found.text().encode()


def _hub_answer(data: bytes) -> object:
    """A listing of a repository; the client takes it from a transport that has no network."""
    with answering(data):
        return HubSource.parse(Given("hf://a/b", Path("/nowhere"))).locate()


_OURS = model_card.written("license: mit\ntags:\n- lora\n", "ours")

TARGETS: Mapping[str, Target] = {
    "recipe": Target(_recipe, lambda: [path.read_bytes() for path in sorted((ROOT / "recipes").glob("*.yaml"))]),
    "set": Target(_set, lambda: [b"merge={combination_type: cat}", b"matrix={loras.0.weight: [1, 2]}"]),
    "lock": Target(_lock, lambda: [_lock_text()]),
    "header": Target(_header, lambda: [_small("lora_unet_{}.lora_{}.weight")]),
    "lora": Target(_lora, lambda: [_small(name) for name in ("lora_unet_{}.lora_{}.weight", "unet.{}.lora_{}.weight")]),
    "adapter_config": Target(
        _adapter_config, lambda: [b'{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "rank_pattern": {"other": 2}}']
    ),
    "key": Target(
        _key, lambda: [b"lora_unet_down_blocks_0_attn.lora_down.weight", b"transformer.a.lora_A.default.weight"]
    ),
    "provenance": Target(_provenance, lambda: [_statement()]),
    "manifest": Target(_manifest, lambda: [_manifest_content()]),
    "card": Target(
        _card,
        lambda: [
            _OURS.encode(),
            b"---\nlicense: other\nlicense_name: &a x\ntags: [*a, 1, 0x1f]\nbase_model: a/b\n---\n# A\n",
        ],
    ),
    "record": Target(_record, lambda: [Record("a", {"a": "b"}, {"recipe": {}}, ("peft",), home="h").text().encode()]),
    "hub_answer": Target(_hub_answer, lambda: [_listing()]),
}


@cache
def _folder() -> Any:
    """A temporary folder, which goes with this program."""
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None)


def _written(name: str, data: bytes) -> Path:
    place = Path(_folder().name) / name
    place.parent.mkdir(exist_ok=True)
    # A new file each time: one of the same size that was changed in the same moment would be taken for the one before.
    place.unlink(missing_ok=True)
    place.write_bytes(data)
    return place


@cache
def _base() -> Any:
    return architecture("sd15")


def _small(name: str) -> bytes:
    """A LoRA of one layer, of rank 1."""
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    shown = layer.replace(".", "_") if name.startswith("lora_unet_") else layer
    halves = ("down", "up") if name.startswith("lora_unet_") else ("A", "B")
    shapes = ((1, 320), (320, 1))
    header = {
        name.format(shown, half): {"dtype": "F16", "shape": shape, "data_offsets": [640 * place, 640 * place + 640]}
        for place, (half, shape) in enumerate(zip(halves, shapes, strict=True))
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\x00\x3c" * 640


def _manifest_content() -> bytes:
    layers = [model_pack.layer("a/b.safetensors", "a" * 64, 1, paper=False)]
    return Manifest.made(model_pack.ARTIFACT, Descriptor.of_bytes(b"{}", model_pack.CONFIG), layers, {"a": "b"}).content


def _listing() -> bytes:
    large = {"rfilename": "a.safetensors", "size": 9, "lfs": {"size": 9, "sha256": "a" * 64, "pointerSize": 134}}
    small = {"rfilename": "config.json", "size": 2, "blobId": "b" * 40}
    data = {"id": "a/b", "sha": "c" * 40, "gated": False, "cardData": {"license": "mit"}, "siblings": [large, small]}
    return json.dumps(data).encode()


def _lock_text() -> bytes:
    file = {"size": 1, "sha256": "a" * 64}
    source = {"source": "hf://a/b", "commit": "c" * 40, "licence": "mit", "files": {"a.safetensors": file}}
    data = {"version": 1, "recipe": "a", "sources": {"base": source, "loras": {"ink": source}}}
    return locks.text(locks.Lock.model_validate(data)).encode()


def _statement() -> bytes:
    definition = {
        "buildType": "urn:loramerge:recipe:v1",
        "externalParameters": {"recipe": {"name": "a"}},
        "internalParameters": {"dtypes": {"outputs": {}}, "environment": {}, "bytesDependOnEnvironment": []},
        "resolvedDependencies": [{"annotations": {"lora": "a"}, "uri": "a", "digest": {"sha256": "a" * 64}}],
    }
    return Statement({"a/b": "a" * 64}, {"buildDefinition": definition}).text().encode()
