"""Keys to sign and to verify with: elliptic curves, in PEM files as openssl writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import UsageError
from loramerge.files.neighbours import beside
from loramerge.files.reading import content_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

_LARGEST_KEY = 1 << 20
PASSWORD_VARIABLE = "LORAMERGE_KEY_PASSWORD"  # noqa: S105  the variable's name
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}  # those of Sigstore's bundles
_NEW_KEY = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY` makes a key"
_PUBLIC_HALF = "`openssl pkey -in KEY -pubout -out PUB` writes the public half of a key"


def private(path: Path) -> EllipticCurvePrivateKey:
    """Read a private key; where it is encrypted, its password is taken from the environment.

    Raises:
        UsageError: It can't be read or opened, or is none to sign with.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(path)
    try:
        key = load_pem_private_key(content, None)
    except TypeError:  # it is encrypted
        password = _password(path)
        try:
            key = load_pem_private_key(content, password)
        except Exception:  # noqa: BLE001  a wrong password, an encryption that nobody knows
            raise UsageError(f"{path} does not open with the password in {PASSWORD_VARIABLE}") from None
    except Exception:  # noqa: BLE001  whatever is in the file
        raise UsageError(f"{path} is no private key in PEM", hint=_NEW_KEY) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise UsageError(f"{path} is no key of the curves {', '.join(_CURVES.values())}", hint=_NEW_KEY)
    return key


def public(path: Path) -> EllipticCurvePublicKey:
    """Read a public key.

    Raises:
        UsageError: It can't be read, or is none to verify with.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content(path)
    try:
        key = load_pem_public_key(content)
    except Exception:  # noqa: BLE001  whatever is in the file
        raise UsageError(f"{path} is no public key in PEM", hint=_PUBLIC_HALF) from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise UsageError(f"{path} is no key of the curves {', '.join(_CURVES.values())}", hint=_PUBLIC_HALF)
    return key


@contextmanager
def in_memory(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> Iterator[str]:
    """A path that reads, once, as the key in PEM: no disk sees a private key that was decrypted."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    if isinstance(key, EllipticCurvePrivateKey):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as pipe:  # some 300 bytes: every pipe takes them
            pipe.write(pem)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def _password(path: Path) -> bytes:
    password = os.environ.get(PASSWORD_VARIABLE)
    if not password:
        hint = f"put its password into the environment variable {PASSWORD_VARIABLE}"
        raise UsageError(f"{path} is encrypted", hint=hint)
    return password.encode()


def _content(path: Path) -> bytes:
    try:
        return content_of(path.expanduser(), most=_LARGEST_KEY, pipes=True)
    except (OSError, RuntimeError, ValueError) as error:  # no such user's home, a NUL in the name
        hint = beside(path) if isinstance(error, FileNotFoundError) else ""
        raise UsageError(
            f"the key {path} can't be read: {getattr(error, 'strerror', None) or error}", hint=hint
        ) from None
