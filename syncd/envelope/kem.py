"""The ways to wrap a secret: which KEMs, their key bytes, wrap and unwrap.

- HPKE (RFC 9180) as the cryptography package has it: KDF HKDF-SHA256, AEAD AES-256-GCM, base mode, single
  shot, empty additional data. RSA is in `rsa`.
- Raw keys: X25519 has 32 bytes, public or private. MLKEM768_X25519 is the ML-KEM-768 key (public:
  1184 bytes, private: its 64-byte seed) followed by the X25519 key.
- Errors of the library are translated here and nowhere else.
"""

from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from syncd.envelope import rsa
from syncd.errors import IdentityError


class Kem(Enum):
    """A way to wrap; the value is its number in the archive. Numbers are never used again."""

    X25519 = 1
    MLKEM768_X25519 = 2
    RSA = 3

    @property
    def label(self) -> str:
        """Its spelling in texts."""
        return self.name.lower().replace("_", "")

    @property
    def public_bytes(self) -> int | None:
        """Size of a raw public key; None where it differs from key to key."""
        return _PUBLIC_BYTES.get(self)

    @property
    def private_bytes(self) -> int | None:
        """Size of a raw private key; None where it differs from key to key."""
        return _PRIVATE_BYTES.get(self)


_PUBLIC_BYTES: Final = {Kem.X25519: 32, Kem.MLKEM768_X25519: 1184 + 32}
_PRIVATE_BYTES: Final = {Kem.X25519: 32, Kem.MLKEM768_X25519: 64 + 32}
_SEED: Final = 64
_MLKEM_PUBLIC: Final = 1184


def generate(kem: Kem) -> bytes:
    """A new raw private key, not for RSA. Raises UnsupportedAlgorithm where this machine lacks the KEM."""
    private = X25519PrivateKey.generate().private_bytes_raw()
    if kem is Kem.X25519:
        return private
    return MLKEM768PrivateKey.generate().private_bytes_raw() + private


def check_public(kem: Kem, public: bytes) -> None:
    """Make sure that these can be the bytes of a public key. Raises IdentityError."""
    if kem is Kem.RSA:
        rsa.check_public(public)
    elif len(public) != kem.public_bytes:
        raise IdentityError(
            f"a recipient-{kem.label} key has {kem.public_bytes} bytes, not {len(public)}",
            hint="copy the whole line again",
        )


def public_of(kem: Kem, private: bytes) -> bytes:
    """The raw public key of a raw private key. Raises IdentityError where this machine lacks the KEM."""
    if kem is Kem.RSA:
        return rsa.public_of(private)
    if kem is Kem.X25519:
        return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    mlkem, x25519 = _split(private)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def wrap(kem: Kem, public: bytes, plaintext: bytes | bytearray, info: bytes) -> bytes:
    """`plaintext` for the holder of the private key. Raises IdentityError where `public` is no key."""
    if kem is Kem.RSA:
        return rsa.wrap(public, plaintext, info)
    try:
        if kem is Kem.X25519:
            return _suite(kem).encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=info)
        hybrid = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
        )
        return _suite(kem).encrypt(plaintext, hybrid, info=info)
    except UnsupportedAlgorithm as error:
        raise _unsupported(kem) from error
    except ValueError as error:
        raise IdentityError(f"a recipient is no {kem.label} key: {error}", hint="remove it") from error


def unwrap(kem: Kem, private: bytes, wrapped: bytes, info: bytes) -> bytes | None:
    """The plaintext, or None where `wrapped` is damaged or meant for another key or context."""
    if kem is Kem.RSA:
        return rsa.unwrap(private, wrapped, info)
    try:
        if kem is Kem.X25519:
            return _suite(kem).decrypt(wrapped, X25519PrivateKey.from_private_bytes(private), info=info)
        return _suite(kem).decrypt(wrapped, hpke.MLKEM768X25519PrivateKey(*_split(private)), info=info)
    except (InvalidTag, ValueError):
        return None


def _suite(kem: Kem) -> hpke.Suite:
    number = hpke.KEM.X25519 if kem is Kem.X25519 else hpke.KEM.MLKEM768_X25519
    return hpke.Suite(number, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _split(private: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    try:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:_SEED])
    except UnsupportedAlgorithm as error:
        raise _unsupported(Kem.MLKEM768_X25519) from error
    return mlkem, X25519PrivateKey.from_private_bytes(private[_SEED:])


def _unsupported(kem: Kem) -> IdentityError:
    return IdentityError(
        f"the cryptography package on this machine cannot do {kem.label}",
        hint="install its own wheel from PyPI, which can",
    )
