"""RSA-OAEP for keys that live in a PKI or an HSM: which keys will do, wrap and unwrap.

- SHA-256, MGF1 with SHA-256, no label, which many HSMs cannot do; instead the plaintext is followed by
  SHA-256 of the context, and who unwraps compares that.
- A public key is its DER SubjectPublicKeyInfo, in the one spelling that the library writes; a private key
  is DER PKCS#8.
- 3072 to 16384 bits, exponent 65537.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from syncd.errors import IdentityError

MIN_BITS: Final = 3072
MAX_BITS: Final = 16384

_EXPONENT: Final = 65537
_OAEP: Final = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)
_CONTEXT_BYTES: Final = 32


def encode_public(key: object) -> bytes:
    """The DER of a public key that will do. Raises IdentityError."""
    if not isinstance(key, RSAPublicKey):
        raise _unfit("it is no RSA key")
    if not MIN_BITS <= key.key_size <= MAX_BITS:
        raise _unfit(f"it has {key.key_size} bits, not {MIN_BITS} to {MAX_BITS}")
    if key.public_numbers().e != _EXPONENT:
        raise _unfit(f"its exponent is not {_EXPONENT}")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_public(public: bytes) -> None:
    """Make sure that it is a key that will do, in its one spelling. Raises IdentityError."""
    _load_public(public)


def public_of(private: bytes) -> bytes:
    """The public key of a private key. Raises IdentityError where that will not do."""
    return encode_public(_load_private(private).public_key())


def wrap(public: bytes, plaintext: bytes | bytearray, info: bytes) -> bytes:
    """`plaintext`, at most 286 bytes, for the holder of the private key. Raises IdentityError."""
    # The library wants bytes here, which cannot be overwritten: a copy of the secret stays until its memory
    # is used again.
    return _load_public(public).encrypt(bytes(plaintext) + hashlib.sha256(info).digest(), _OAEP)


def unwrap(private: bytes, wrapped: bytes, info: bytes) -> bytes | None:
    """The plaintext, or None where `wrapped` is damaged or meant for another key or context."""
    return unwrap_with(lambda ciphertext: _load_private(private).decrypt(ciphertext, _OAEP), wrapped, info)


def unwrap_with(decrypt: Callable[[bytes], bytes], wrapped: bytes, info: bytes) -> bytes | None:
    """The same, where `decrypt` undoes the OAEP; it raises ValueError for what does not open."""
    try:
        plain = decrypt(wrapped)
    except ValueError:
        return None
    # A context that is too short would compare as unequal.
    if not hmac.compare_digest(plain[-_CONTEXT_BYTES:], hashlib.sha256(info).digest()):
        return None
    return plain[:-_CONTEXT_BYTES]


def _load_public(public: bytes) -> RSAPublicKey:
    try:
        key = load_der_public_key(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unfit("it cannot be read") from error
    if encode_public(key) != public:
        raise _unfit("it is spelled in an unusual way")
    return cast("RSAPublicKey", key)


def _load_private(private: bytes) -> RSAPrivateKey:
    # It was checked when it was read from its file; every epoch would pay for that again.
    return cast("RSAPrivateKey", load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True))


def _unfit(reason: str) -> IdentityError:
    return IdentityError(
        f"a key cannot be used for rsa: {reason}", hint="RSA of 3072 bits or more, exponent 65537"
    )
