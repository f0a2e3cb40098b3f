"""An epoch key, what it seals and opens, and how it is wrapped for recipients.

- The key of an object kind is HKDF-SHA256 of the epoch's secret; an object is one Cobblestone-256
  message (c2sp.org/chunked-encryption) under it.
- The message's context binds database, generation, epoch, kind and a label: an object that is moved,
  renamed, replayed elsewhere or put after another predecessor does not open.
- Plaintext is released after the last byte was authenticated, never before.
- A secret is overwritten when nobody uses its epoch key any more, and so is every object key at once: a
  host that is stolen later has neither. What the libraries below us copy is theirs to clear.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, NoReturn

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import override

from syncd.envelope import kem as _kem
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, Recipient
from syncd.errors import ArchiveError, IdentityError
from syncd.model import Digest

SECRET_BYTES: Final = 32


class Kind(Enum):
    """What is sealed."""

    DELTA = b"delta"
    PACK = b"pack"
    DIGEST = b"digest"


@dataclass(frozen=True, slots=True)
class EpochKey:
    """The secret of one epoch of one generation of one database.

    It has its secret to itself, and overwrites it when the last who uses the key lets go of it: a batch, a
    snapshot or an upload that began under an epoch ends under it. It is neither pickled nor copied.
    """

    database: str
    generation: str
    number: int
    secret: bytes | bytearray = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "secret", bytearray(self.secret))

    def __del__(self) -> None:
        # Names of this module may be gone when the interpreter ends; builtins are not.
        if isinstance(secret := getattr(self, "secret", None), bytearray):
            secret[:] = bytes(len(secret))

    @override
    def __reduce__(self) -> NoReturn:
        raise TypeError("an epoch key is not copied")

    @classmethod
    def generate(cls, database: str, generation: str, number: int) -> "EpochKey":
        """A new secret."""
        with _erased(SECRET_BYTES) as secret:
            # Filled in place: bytes that os.urandom returned could not be overwritten. It waits, as
            # /dev/urandom does not, until the system has gathered what makes numbers random.
            os.urandom(1)
            with Path("/dev/urandom").open("rb", buffering=0) as source:
                if source.readinto(secret) != SECRET_BYTES:
                    raise OSError("/dev/urandom ended")
            return cls(database, generation, number, secret)


@dataclass(frozen=True, slots=True)
class WrappedSecret:
    """The secret for one recipient: KEM number, fingerprint, HPKE ciphertext."""

    kem: int
    recipient: bytes
    ciphertext: bytes


def delta_label(seq: int, predecessor: Digest) -> bytes:
    """Label of a delta: where it stands, and on which database it applies."""
    return seq.to_bytes(8) + bytes(predecessor)


def pack_label(pack_id: bytes) -> bytes:
    """Label of a pack: its name."""
    return pack_id


def digest_label(seq: int, body: bytes) -> bytes:
    """Label of a snapshot's digest: where it stands, and SHA-256 of the manifest's body."""
    return seq.to_bytes(8) + hashlib.sha256(body).digest()


def seal(key: EpochKey, kind: Kind, label: bytes, plaintext: bytes) -> bytes:
    """The sealed bytes: 56 more than the plaintext, and 16 for each started 16 KiB."""
    with _object_key(key, kind) as object_key:
        encryptor = Cobblestone256Encryptor(object_key, context=_context(key, kind.value, label))
    return encryptor.update(plaintext) + encryptor.finalize()


def unseal(key: EpochKey, kind: Kind, label: bytes, sealed: bytes, *, what: str) -> bytes:
    """The plaintext. Raises ArchiveError, naming `what`, for anything but what `seal` gave for all this."""
    with _object_key(key, kind) as object_key:
        decryptor = Cobblestone256Decryptor(object_key, context=_context(key, kind.value, label))
    try:
        return decryptor.update(sealed) + decryptor.finalize()
    except InvalidTag as error:
        raise ArchiveError(
            f"{what} does not open: it is damaged, forged, or does not belong where it lies"
        ) from error


def wrap_secret(key: EpochKey, recipients: Iterable[Recipient]) -> list[WrappedSecret]:
    """The secret for each recipient. Raises IdentityError where one is no usable key."""
    return [
        WrappedSecret(
            kem=recipient.kem.value,
            recipient=recipient.fingerprint,
            ciphertext=_kem.wrap(
                recipient.kem, recipient.public, key.secret, _context(key, b"wrap", recipient.fingerprint)
            ),
        )
        for recipient in recipients
    ]


def unwrap_secret(
    database: str,
    generation: str,
    number: int,
    wraps: Iterable[WrappedSecret],
    identity: Identity,
    *,
    what: str,
) -> EpochKey:
    """Open the wrap for this identity.

    Raises IdentityError where there is none, and ArchiveError where there is one that does not open.
    """
    recipient = identity.recipient
    others: list[str] = []
    for wrap in wraps:
        if (wrap.kem, wrap.recipient) != (recipient.kem.value, recipient.fingerprint):
            others.append(f"{_label(wrap.kem)} {wrap.recipient.hex()}")
            continue
        blank = EpochKey(database, generation, number, b"")
        info = _context(blank, b"wrap", recipient.fingerprint)
        secret = identity.unwrap(wrap.ciphertext, info)
        if secret is None or len(secret) != SECRET_BYTES:
            raise ArchiveError(f"the key in {what} does not open: it is damaged or forged")
        return EpochKey(database, generation, number, secret)
    raise IdentityError(
        f"{what} is not for this identity ({recipient.kem.label} {recipient.fingerprint.hex()})",
        hint=f"it is for {', '.join(others)}",
    )


@contextmanager
def _object_key(key: EpochKey, kind: Kind) -> Iterator[bytearray]:
    with _erased(32) as derived:
        hkdf = HKDF(SHA256(), length=32, salt=None, info=b"syncd v1 key " + kind.value)
        hkdf.derive_into(key.secret, derived)
        yield derived


@contextmanager
def _erased(size: int) -> Iterator[bytearray]:
    """Room for a secret, overwritten afterwards."""
    room = bytearray(size)
    try:
        yield room
    finally:
        room[:] = bytes(size)


def _context(key: EpochKey, purpose: bytes, label: bytes) -> bytes:
    # Each part after its length: no two lists of parts have the same spelling.
    parts = (key.database.encode(), key.generation.encode(), key.number.to_bytes(4), purpose, label)
    return b"syncd v1" + b"".join(len(part).to_bytes(4) + part for part in parts)


def _label(number: int) -> str:
    try:
        return Kem(number).label
    except ValueError:
        return f"kind {number}"
