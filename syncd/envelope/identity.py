"""An identity under a passphrase.

    "syncd" "I" version(1) 0
    memory in KiB (4 bytes, big-endian)  iterations (4)  lanes (1)  salt (16)
    Cobblestone-256 of the identity under Argon2id(passphrase), context: all of the above
    first 4 bytes of SHA-256 over all of the above

- The checksum tells damage from a wrong passphrase; it covers public bytes only.
- Parameters are read from a file that anybody may have written: they are limited before memory is taken.
- A passphrase is UTF-8 after NFC: the same keys on another keyboard give the same bytes.
"""

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from syncd.envelope.keys import Identity
from syncd.errors import FormatVersionError, IdentityError

MAX_MEMORY_KIB: Final = 1024 * 1024
MAX_ITERATIONS: Final = 64
MAX_LANES: Final = 64
MAX_PROTECTED_BYTES: Final = 64 * 1024

_MAGIC: Final = b"syncdI"
_VERSION: Final = 1
_SALT_BYTES: Final = 16
_HEAD_BYTES: Final = 8 + 4 + 4 + 1 + _SALT_BYTES
_CHECKSUM_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Argon2Params:
    """Cost of trying one passphrase (RFC 9106): memory in KiB, passes over it, parallel lanes."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= MAX_LANES:
            raise ValueError(f"{self.lanes} lanes are not within 1 to {MAX_LANES}")
        if not 1 <= self.iterations <= MAX_ITERATIONS:
            raise ValueError(f"{self.iterations} iterations are not within 1 to {MAX_ITERATIONS}")
        if not 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB:
            raise ValueError(f"{self.memory_kib} KiB are not within {8 * self.lanes} to {MAX_MEMORY_KIB}")


def protect(identity: Identity, passphrase: str, params: Argon2Params | None = None) -> bytes:
    """The identity, to be opened with the passphrase. Raises IdentityError where that is empty."""
    params = params or Argon2Params()
    head = (
        _MAGIC
        + bytes((_VERSION, 0))
        + params.memory_kib.to_bytes(4)
        + params.iterations.to_bytes(4)
        + params.lanes.to_bytes(1)
        + secrets.token_bytes(_SALT_BYTES)
    )
    encryptor = Cobblestone256Encryptor(_key(passphrase, params, head[-_SALT_BYTES:]), context=head)
    body = head + encryptor.update(identity.to_bytes()) + encryptor.finalize()
    return body + _checksum(body)


def unprotect(raw: bytes, passphrase: str) -> Identity:
    """The identity. Raises IdentityError (damaged, or wrong passphrase) or FormatVersionError."""
    params = check_protected(raw)
    head, sealed = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:-_CHECKSUM_BYTES]
    decryptor = Cobblestone256Decryptor(_key(passphrase, params, head[-_SALT_BYTES:]), context=head)
    try:
        plaintext = decryptor.update(sealed) + decryptor.finalize()
    except InvalidTag as error:
        raise IdentityError(
            "the passphrase does not open the identity",
            hint="mind upper case, spaces and the keyboard's language",
        ) from error
    return Identity.from_bytes(plaintext)


def check_protected(raw: bytes) -> Argon2Params:
    """What can be checked without the passphrase. Raises IdentityError or FormatVersionError."""
    if not raw.startswith(_MAGIC) or not _HEAD_BYTES + _CHECKSUM_BYTES < len(raw) <= MAX_PROTECTED_BYTES:
        raise _damaged("it does not look like one")
    if raw[-_CHECKSUM_BYTES:] != _checksum(raw[:-_CHECKSUM_BYTES]):
        raise _damaged("its checksum is wrong")
    if raw[6:8] != bytes((_VERSION, 0)):
        raise FormatVersionError(
            f"the identity has format version {raw[6]}, this syncd reads version {_VERSION}",
            hint="upgrade syncd",
        )
    try:
        return Argon2Params(
            memory_kib=int.from_bytes(raw[8:12]), iterations=int.from_bytes(raw[12:16]), lanes=raw[16]
        )
    except ValueError as error:
        raise _damaged(str(error)) from error


def _key(passphrase: str, params: Argon2Params, salt: bytes) -> bytes:
    if not passphrase:
        raise IdentityError("the passphrase is empty")
    try:
        kdf = Argon2id(
            salt=salt,
            length=32,
            iterations=params.iterations,
            lanes=params.lanes,
            memory_cost=params.memory_kib,
        )
    except UnsupportedAlgorithm as error:
        raise IdentityError(
            "the cryptography package on this machine cannot do Argon2id",
            hint="install its own wheel from PyPI, which can",
        ) from error
    return kdf.derive(unicodedata.normalize("NFC", passphrase).encode())


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECKSUM_BYTES]


def _damaged(reason: str) -> IdentityError:
    return IdentityError(
        f"the protected identity is damaged: {reason}", hint="copy it again from the original kit"
    )
