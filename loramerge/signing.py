"""Signatures of artifacts by OpenSSF model signing: model.sig, which `model_signing verify` accepts as well.

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

from loramerge import keys
from loramerge.artifact import BESIDE, SIGNATURE
from loramerge.digest import sha256_of
from loramerge.errors import Finding, LoramergeError, UsageError
from loramerge.statement import STATEMENT, Statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from model_signing import hashing, signing, verifying
    from model_signing.manifest import Manifest

KEYLESS = "sigstore"
_IN_CI = "give the job `permissions: id-token: write`, or sign with a key"
_ONLINE = "Sigstore's keys are looked up in the network; a key of your own needs none"


@dataclass(frozen=True)
class Signer:
    """Signs artifacts.

    Attributes:
        config: model_signing's, with the key in it.
        key: The key; None for Sigstore, which makes a new one for every signature.
    """

    config: signing.Config
    key: EllipticCurvePrivateKey | None

    def sign(self, folder: Path, name: str) -> None:
        """Write model.sig into an artifact. The same key and files give the same bytes, but not with Sigstore.

        Args:
            folder: The artifact, complete but for its signature.
            name: The recipe's, which the signature says.

        Raises:
            LoramergeError: Sigstore refuses or can't be reached, or the file can't be written.
        """
        place, statement = folder / SIGNATURE, folder / STATEMENT
        subjects = Statement.parse(statement.read_text(encoding="utf-8")).subjects
        files = _Digests(name, {**subjects, STATEMENT: sha256_of(statement)})
        try:
            self.config.set_hashing_config(files.as_config()).sign(folder, place)
            if self.key is not None:
                place.write_text(_without_chance(place.read_text(encoding="utf-8"), self.key), encoding="utf-8")
        except Exception as error:  # the disk's, the network's, Sigstore's
            raise LoramergeError(f"{name} can't be signed: {_in_words(error)}") from error


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
        files = _Digests("", digests)
        try:
            with redirect_stdout(sys.stderr):  # where it prints its warnings, --json prints the result
                self.config.set_hashing_config(files.as_config()).verify(signature.parent, signature)
        except Exception as error:  # noqa: BLE001  whatever a damaged file leads to: it is no signature
            message = f"{SIGNATURE} is no valid signature by {self.who}: {_flaw(error)}"
            named = list(_differences(signature, digests)) if files.compared else []
            yield from named or [Finding("signature", SIGNATURE, message)]


def signer(given: Path | str) -> Signer:
    """What `run --sign` names.

    Args:
        given: `sigstore`, or the file of an EC private key in PEM; the password of an encrypted one is taken from
            the environment.

    Raises:
        UsageError: There is no such key, or it is none to sign with; there is no identity for Sigstore.
        LoramergeError: model-signing is not installed, or Sigstore can't be reached.
    """
    _require()
    from model_signing.signing import Config

    if str(given) == KEYLESS:
        return Signer(_keyless(), None)
    key = keys.private(Path(given))
    with keys.in_memory(key) as path:
        return Signer(Config().use_elliptic_key_signer(private_key=path), key)


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
    _require()
    from model_signing.verifying import Config

    if public_key is not None:
        with keys.in_memory(keys.public(Path(public_key))) as path:
            return Trust(f"the key {public_key}", Config().use_elliptic_key_verifier(public_key=path))
    try:
        config = Config().use_sigstore_verifier(identity=str(identity), oidc_issuer=str(identity_provider))
    except Exception as error:
        raise LoramergeError(f"Sigstore can't be reached: {_in_words(error)}", hint=_ONLINE) from error
    return Trust(f"{identity} ({identity_provider})", config)


@dataclass
class _Digests:
    """Stands in for model_signing's hashing, which would read every file again and name the folder it is made in."""

    name: str
    digests: Mapping[str, str]
    compared: bool = False  # whether they were asked for: when verifying, once the signature itself was found good

    def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Manifest:
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
        return cast("hashing.Config", self)  # no more of it is used


def _without_chance(bundle: str, key: EllipticCurvePrivateKey) -> str:
    """Sign what a bundle holds again, with keys in their order and RFC 6979's nonces: the same files, the same bytes.

    The encoding is that of DSSE: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    data = json.loads(bundle)
    envelope = data["dsseEnvelope"]
    payload = json.dumps(json.loads(base64.b64decode(envelope["payload"])), sort_keys=True).encode()
    kind = envelope["payloadType"].encode()
    digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    signature = key.sign(signed, ECDSA(digest, deterministic_signing=True))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(data, sort_keys=True) + "\n"


def _differences(signature: Path, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Name the files that differ from what a signature says, which is known to be genuine."""
    bundle = json.loads(signature.read_text(encoding="utf-8"))
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


def _keyless() -> signing.Config:
    from model_signing.signing import Config
    from sigstore.oidc import detect_credential

    try:
        known = detect_credential()
    except Exception as error:
        raise LoramergeError(f"there is no identity to sign with: {_in_words(error)}", hint=_IN_CI) from error
    if not known:
        raise UsageError("there is no identity to sign with: Sigstore's come from CI", hint=_IN_CI)
    try:
        return Config().use_sigstore_signer(use_ambient_credentials=True)
    except Exception as error:
        raise LoramergeError(f"Sigstore can't be reached: {_in_words(error)}", hint=_ONLINE) from error


def _require() -> None:
    try:
        import model_signing  # noqa: F401  whether it is there
    except ImportError as error:
        hint = 'pip install "loramerge[sign]"'
        raise LoramergeError(f"signatures need the package model-signing: {error}", hint=hint) from None


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _flaw(error: Exception) -> str:
    """What keeps a signature from being one, as far as those who checked it say so on purpose."""
    if type(error).__name__ == "InvalidSignature":  # cryptography says no more
        return "it was forged or damaged"
    deliberate = type(error) is ValueError or type(error).__module__.startswith("sigstore")
    return _in_words(error) if deliberate else "it can't be read as one"
