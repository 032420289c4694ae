"""Checking signatures of artifacts by OpenSSF model signing: model.sig, which `model_signing verify` accepts as well.

It is a Sigstore bundle around an in-toto Statement that names every file of the artifact but itself, with its sha256.
https://github.com/sigstore/model-transparency
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from loramerge.artifact.contents import BESIDE, SIGNATURE
from loramerge.errors import Finding, LoramergeError, UsageError
from loramerge.files.reading import content_of
from loramerge.provenance.signing import ec_keys as keys

if TYPE_CHECKING:
    from model_signing import hashing, verifying
    from model_signing.manifest import Manifest

ONLINE = "Sigstore's keys are looked up in the network; a key of your own needs none"


@dataclass(frozen=True)
class Trust:
    """Whose signatures count.

    Attributes:
        who: In words.
        config: model_signing's, with the public key or the identity in it.
    """

    who: str
    config: verifying.Config

    def findings(self, signature: Path | None, digests: Mapping[str, str]) -> Iterator[Finding]:
        """Everything that keeps files from being what was signed: all of them, and no others.

        Args:
            signature: The artifact's model.sig; None if it has none.
            digests: Name → sha256 of every other file of the artifact.
        """
        if signature is None:
            yield Finding("signature", SIGNATURE, f"there is no {SIGNATURE}: it is not signed")
            return
        files = Digests("", digests)
        try:
            with redirect_stdout(sys.stderr):  # where it prints its warnings, --json prints the result
                self.config.set_hashing_config(files.as_config()).verify(signature.parent, signature)
        except Exception as error:  # noqa: BLE001  whatever a damaged file leads to: it is no signature
            message = f"{SIGNATURE} is no valid signature by {self.who}: {_flaw(error)}"
            named = list(_differing_files(signature, digests)) if files.compared else []
            yield from named or [Finding("signature", SIGNATURE, message)]


def trust(public_key: Path | str | None, identity: str | None, identity_provider: str | None) -> Trust | None:
    """Whose signatures count; None if nobody is named.

    Args:
        public_key: The file of an EC public key in PEM.
        identity: Who signed with Sigstore: an address, or the URL of a workflow.
        identity_provider: The URL of who vouches for that identity.

    Raises:
        UsageError: The key can't be read, or what is named does not go together.
        LoramergeError: model-signing is not installed, or Sigstore's root of trust can't be had.
    """
    if public_key is None and identity is None and identity_provider is None:
        return None
    if public_key is not None and (identity or identity_provider):
        raise UsageError("a public key and an identity were given", hint="a signature is made with one or the other")
    if public_key is None and not (identity and identity_provider):
        raise UsageError("an identity counts with its identity provider only", hint="give both")
    require()
    from model_signing.verifying import Config

    if public_key is not None:
        with keys.in_memory(keys.public(Path(public_key))) as path:
            return Trust(f"the key {public_key}", Config().use_elliptic_key_verifier(public_key=path))
    try:
        config = Config().use_sigstore_verifier(identity=str(identity), oidc_issuer=str(identity_provider))
    except Exception as error:
        raise LoramergeError(f"Sigstore can't be reached: {in_words(error)}", hint=ONLINE) from error
    return Trust(f"{identity} ({identity_provider})", config)


@dataclass
class Digests:
    """Stands in for model_signing's hashing, which would read every file again and name the folder it is made in."""

    name: str
    digests: Mapping[str, str]
    compared: bool = False  # whether they were asked for: when verifying, once the signature itself was found good

    def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Manifest:
        """The manifest of the digests, whatever lies in the folder."""
        from model_signing import manifest
        from model_signing._hashing.hashing import Digest  # what its public classes take

        del model_path, files_to_hash
        self.compared = True
        how = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
        kind = manifest.SerializationType.from_args({**how, "ignore_paths": sorted({*BESIDE, SIGNATURE})})
        items = [kind.new_item(name, Digest("sha256", bytes.fromhex(sha))) for name, sha in self.digests.items()]
        return manifest.Manifest(self.name, items, kind)

    def add_ignored_paths(self, **_: Any) -> None:
        """Whatever a signature leaves out: here every file counts."""

    def as_config(self) -> hashing.Config:
        """The same as model_signing's own type."""
        return cast("hashing.Config", self)  # no more of it is used


def require() -> None:
    """Go on only if model-signing is installed.

    Raises:
        LoramergeError: It is not.
    """
    try:
        import model_signing  # noqa: F401  whether it is there
    except ImportError as error:
        hint = 'pip install "loramerge[sign]"'
        raise LoramergeError(f"signatures need the package model-signing: {error}", hint=hint) from None


def _differing_files(signature: Path, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Name the files that differ from what a signature says, which is known to be genuine."""
    bundle = json.loads(content_of(signature))
    match json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])):
        case {"predicate": {"serialization": {"method": "files", "hash_type": "sha256"}, "resources": resources}}:
            signed = {str(each["name"]): str(each["digest"]) for each in resources}
        case _:
            return  # made by other means, with digests of another kind
    for name in sorted(signed.keys() | digests.keys()):
        if name not in digests:
            yield Finding("signature", name, f"{name} is missing, and was signed")
        elif name not in signed:
            yield Finding("signature", name, f"{name} is extra: it was not signed")
        elif digests[name] != signed[name]:
            message = f"{name} is not what was signed: its sha256 is {digests[name]}, signed was {signed[name]}"
            yield Finding("signature", name, message)


def in_words(error: Exception) -> str:
    """What an error of somebody else says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _flaw(error: Exception) -> str:
    """What keeps a signature from being one, as far as those who checked it say so on purpose."""
    if type(error).__name__ == "InvalidSignature":  # cryptography says no more
        return "it was forged or damaged"
    deliberate = type(error) is ValueError or type(error).__module__.startswith("sigstore")
    return in_words(error) if deliberate else "it can't be read as one"
