"""The four keys: signing and verify key of the daemon, recipient and identity of the one who restores.

- The host has a signing key and public recipients; the identity is made once and kept elsewhere.
- No `repr` of a secret shows any of it.
- Each has one spelling (`to_text`, `parse`; the identity: `to_bytes`, `from_bytes`).
"""

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from syncd.envelope import kem as _kem
from syncd.envelope.kem import Kem
from syncd.envelope.spelling import spell, unspell
from syncd.errors import ArchiveError, IdentityError

FINGERPRINT_BYTES: Final = 16

_SIGNING: Final = "signing"
_VERIFY: Final = "verify"
_ED25519_BYTES: Final = 32


def is_secret(text: str) -> bool:
    """Whether a text is the spelling of a key that must not be shown."""
    return text.lstrip().startswith(f"syncd-{_SIGNING}-")


@functools.lru_cache(maxsize=16)
def _ed25519(public: bytes) -> Ed25519PublicKey:
    """Made once for the thousands of signatures that a restore checks with the same key."""
    return Ed25519PublicKey.from_public_bytes(public)


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """Ed25519 public key: who has it can tell the daemon's objects from forged ones."""

    public: bytes

    @classmethod
    def parse(cls, text: str) -> "VerifyKey":
        """Read the one-line spelling. Raises IdentityError."""
        return cls(_sized(_VERIFY, unspell(_VERIFY, text), _ED25519_BYTES))

    def to_text(self) -> str:
        """The one-line spelling."""
        return spell(_VERIFY, self.public)

    def verify(self, message: bytes, signature: bytes, *, domain: bytes, what: str) -> None:
        """Raise ArchiveError, naming `what`, unless the daemon signed `message` in this domain."""
        try:
            _ed25519(self.public).verify(signature, domain + message)
        except InvalidSignature as error:
            raise ArchiveError(
                f"the signature of {what} is wrong: it is damaged, forged, or of another daemon",
                hint="compare the verify key with the one in the recovery kit",
            ) from error


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Ed25519 private key of the daemon."""

    private: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Read the one-line spelling. Raises IdentityError."""
        return cls(_sized(_SIGNING, unspell(_SIGNING, text), _ED25519_BYTES))

    def to_text(self) -> str:
        """The one-line spelling. It is secret."""
        return spell(_SIGNING, self.private)

    @property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return VerifyKey(Ed25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw())

    def sign(self, message: bytes, *, domain: bytes) -> bytes:
        """64 bytes. `domain` keeps a signature for one purpose from serving another."""
        return Ed25519PrivateKey.from_private_bytes(self.private).sign(domain + message)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Public key that epochs are wrapped for."""

    kem: Kem
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Recipient":
        """Read the one-line spelling. Raises IdentityError."""
        text = "".join(text.split())
        for kem in Kem:
            if text.startswith(f"syncd-{_recipient(kem)}-"):
                raw = unspell(_recipient(kem), text)
                _kem.check_public(kem, raw)
                return cls(kem, raw)
        raise IdentityError(
            "a key that starts with 'syncd-recipient-' and a known kind was expected",
            hint=f"known kinds: {', '.join(kem.label for kem in Kem)}",
        )

    def to_text(self) -> str:
        """The one-line spelling."""
        return spell(_recipient(self.kem), self.public)

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that name this recipient in an epoch."""
        tagged = b"syncd recipient v1\0" + bytes((self.kem.value,)) + self.public
        return hashlib.sha256(tagged).digest()[:FINGERPRINT_BYTES]

    @property
    def post_quantum(self) -> bool:
        """Whether an archive that is stolen today stays closed to a quantum computer of tomorrow."""
        return self.kem is Kem.MLKEM768_X25519


@dataclass(frozen=True, slots=True)
class Identity:
    """Private key that opens what was sealed for its recipient."""

    kem: Kem
    private: bytes = field(repr=False)

    @classmethod
    def generate(cls, kem: Kem | None = None) -> "Identity":
        """A new identity: MLKEM768_X25519, or X25519 where this machine cannot do that.

        Callers warn where the result is not `post_quantum`. A KEM that was asked for is not replaced:
        raises IdentityError, also for RSA.
        """
        if kem is Kem.RSA:
            raise IdentityError("RSA keys are made by your PKI, not by syncd", hint="or ask for another kind")
        try:
            return cls(kem or Kem.MLKEM768_X25519, _kem.generate(kem or Kem.MLKEM768_X25519))
        except UnsupportedAlgorithm as error:
            if kem is not None:
                raise IdentityError(
                    f"the cryptography package on this machine cannot do {kem.label}"
                ) from error
            return cls(Kem.X25519, _kem.generate(Kem.X25519))

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Identity":
        """Read what `to_bytes` gives. Raises IdentityError."""
        for kem in Kem:
            if raw[:1] == bytes((kem.value,)) and len(raw) - 1 == kem.private_bytes:
                return cls(kem, raw[1:])
        raise IdentityError("the identity is of a kind that this syncd does not know", hint="upgrade syncd")

    def to_bytes(self) -> bytes:
        """The number of its KEM and the raw private key, for a kit. It is secret.

        Raises IdentityError for RSA: such a key stays in the file or the HSM that it came from.
        """
        if self.kem.private_bytes is None:
            raise IdentityError(f"a recovery kit holds no {self.kem.label} key")
        return bytes((self.kem.value,)) + self.private

    @property
    def recipient(self) -> Recipient:
        """The public half. Raises IdentityError where this machine cannot do the identity's KEM."""
        return Recipient(self.kem, _kem.public_of(self.kem, self.private))

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes | None:
        """The plaintext, or None where `wrapped` is damaged or meant for another key or context."""
        return _kem.unwrap(self.kem, self.private, wrapped, info)

    @property
    def post_quantum(self) -> bool:
        """See `Recipient.post_quantum`."""
        return self.kem is Kem.MLKEM768_X25519


def _recipient(kem: Kem) -> str:
    return f"recipient-{kem.label}"


def _sized(label: str, raw: bytes, size: int) -> bytes:
    if len(raw) != size:
        raise IdentityError(
            f"a {label} key has {size} bytes, not {len(raw)}", hint="copy the whole line again"
        )
    return raw
