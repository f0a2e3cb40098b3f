"""RSA keys as a PKI hands them out: PEM files with a public key, a certificate or a private key.

- Of a certificate only the key counts: who may restore is said by the configuration, not by an authority.
  Its end is told, so that somebody can warn.
- Errors say what a file holds, never any of it.
- An RSA key that never leaves its HSM is an `HsmIdentity`: a function does the decryption.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from typing_extensions import override

from syncd.envelope import rsa
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, Recipient
from syncd.errors import IdentityError

_BEGIN: Final = b"-----BEGIN "
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PRIVATE: Final = b"PRIVATE KEY-----"
_KIT: Final = b"-----BEGIN SYNCD "


@dataclass(frozen=True, slots=True)
class PublicPem:
    """What a PEM file says of a recipient; `until_ms` is the end of its certificate, if it is one."""

    recipient: Recipient
    until_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HsmIdentity(Identity):
    """An identity whose private key is elsewhere: `decrypt` undoes RSA-OAEP.

    `decrypt` raises ValueError for what the key does not open, IdentityError where it was not to be had.
    """

    kem: Kem = Kem.RSA
    private: bytes = field(default=b"", repr=False)
    public: Recipient
    decrypt: Callable[[bytes], bytes] = field(repr=False)

    @property
    @override
    def recipient(self) -> Recipient:
        return self.public

    @override
    def unwrap(self, wrapped: bytes, info: bytes) -> bytes | None:
        return rsa.unwrap_with(self.decrypt, wrapped, info)


def is_pem(raw: bytes) -> bool:
    """Whether a file has a PEM block, and is not a recovery kit."""
    return _BEGIN in raw and _KIT not in raw


def is_private(raw: bytes) -> bool:
    """Whether a PEM file has a private key."""
    return _PRIVATE in raw


def is_encrypted(raw: bytes) -> bool:
    """Whether the private key in a PEM file needs a passphrase."""
    return b"ENCRYPTED" in raw


def read_public(raw: bytes) -> PublicPem:
    """The recipient in a PEM file: of its public key, or of its first certificate. Raises IdentityError."""
    if is_private(raw):
        raise IdentityError(
            "this is a private key, which does not belong here", hint="give its public key, or a certificate"
        )
    try:
        if _CERTIFICATE in raw:
            from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415  # 2 MB of a daemon

            certificate = load_pem_x509_certificate(raw)
            until_ms = round(certificate.not_valid_after_utc.timestamp() * 1000)
            return PublicPem(_recipient(certificate.public_key()), until_ms)
        return PublicPem(_recipient(load_pem_public_key(raw)), None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(
            "there is no public key or certificate in it", hint="a PEM file with one of them is wanted"
        ) from error


def read_private(raw: bytes, passphrase: str | None) -> Identity:
    """The identity in a PEM file with an RSA private key. Raises IdentityError."""
    if is_encrypted(raw) != (passphrase is not None):
        raise IdentityError(
            "the private key needs a passphrase"
            if passphrase is None
            else "the private key has no passphrase"
        )
    try:
        key = load_pem_private_key(raw, None if passphrase is None else passphrase.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(
            "the private key does not open: a wrong passphrase, or it is damaged"
            if passphrase is not None
            else "there is no private key in it that can be read"
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise IdentityError(
            "it is a private key, but not an RSA key", hint="other identities are in recovery kits"
        )
    rsa.encode_public(key.public_key())
    return Identity(Kem.RSA, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _recipient(key: object) -> Recipient:
    return Recipient(Kem.RSA, rsa.encode_public(key))
