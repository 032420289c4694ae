"""Signing artifacts by OpenSSF model signing.

https://github.com/sigstore/model-transparency
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.contents import SIGNATURE
from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.errors import LoramergeError, UsageError
from loramerge.files.digest import sha256_of
from loramerge.files.reading import text_of
from loramerge.provenance.signing import ec_keys as keys
from loramerge.provenance.signing.verify import ONLINE, Digests, Trust, in_words, require

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from model_signing import signing

KEYLESS = "sigstore"
_IN_CI = "give the job `permissions: id-token: write`, or sign with a key"


@dataclass(frozen=True)
class Signer:
    """Signs artifacts.

    Attributes:
        config: model_signing's, with the key in it.
        key: The key; None for Sigstore, which makes a new one for every signature.
    """

    config: signing.Config
    key: EllipticCurvePrivateKey | None

    def trust(self) -> Trust | None:
        """Its own signatures count; None for Sigstore, whose keys nobody sees twice."""
        if self.key is None:
            return None
        from model_signing.verifying import Config

        with keys.in_memory(self.key.public_key()) as path:
            return Trust("the key that signs", Config().use_elliptic_key_verifier(public_key=path))

    def sign(self, folder: Path, name: str) -> None:
        """Write model.sig into an artifact. The same key and files give the same bytes, but not with Sigstore.

        Args:
            folder: The artifact, complete but for its signature.
            name: The recipe's, which the signature says.

        Raises:
            LoramergeError: Sigstore refuses or can't be reached, or the file can't be written.
        """
        place, statement = folder / SIGNATURE, folder / STATEMENT
        subjects = Statement.parse(text_of(statement)).subjects
        files = Digests(name, {**subjects, STATEMENT: sha256_of(statement)})
        try:
            self.config.set_hashing_config(files.as_config()).sign(folder, place)
            if self.key is not None:
                place.write_text(_without_chance(text_of(place), self.key), encoding="utf-8")
        except Exception as error:  # the disk's, the network's, Sigstore's
            raise LoramergeError(f"{name} can't be signed: {in_words(error)}") from error


def signer(given: Path | str) -> Signer:
    """What `run --sign` names.

    Args:
        given: `sigstore`, or the file of an EC private key in PEM; the password of an encrypted one is taken from
            the environment.

    Raises:
        UsageError: There is no such key, or it is none to sign with; there is no identity for Sigstore.
        LoramergeError: model-signing is not installed, or Sigstore can't be reached.
    """
    require()
    from model_signing.signing import Config

    if str(given) == KEYLESS:
        return Signer(_keyless(), None)
    key = keys.private(Path(given))
    with keys.in_memory(key) as path:
        return Signer(Config().use_elliptic_key_signer(private_key=path), key)


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


def _keyless() -> signing.Config:
    from model_signing.signing import Config
    from sigstore.oidc import detect_credential

    try:
        known = detect_credential()
    except Exception as error:
        raise LoramergeError(f"there is no identity to sign with: {in_words(error)}", hint=_IN_CI) from error
    if not known:
        raise UsageError("there is no identity to sign with: Sigstore's come from CI", hint=_IN_CI)
    try:
        return Config().use_sigstore_signer(use_ambient_credentials=True)
    except Exception as error:
        raise LoramergeError(f"Sigstore can't be reached: {in_words(error)}", hint=ONLINE) from error
