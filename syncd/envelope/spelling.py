"""Keys as one line of text: `syncd-<label>-<base64url>`.

- The base64url part (RFC 4648, no padding) is the key's bytes and four bytes of checksum: the start of
  SHA-256 over `syncd-<label>-` and the key's bytes. A typing error is told from a wrong key.
- White space is ignored, since long lines get wrapped on their way.
- Errors never contain any of the text: it may be secret.
"""

import base64
import hashlib
from typing import Final

from syncd.errors import IdentityError

_CHECKSUM_BYTES: Final = 4


def spell(label: str, payload: bytes) -> str:
    """The text of a key."""
    raw = payload + _checksum(label, payload)
    return f"syncd-{label}-{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"


def unspell(label: str, text: str) -> bytes:
    """The bytes of a key that must have this label. Raises IdentityError."""
    text = "".join(text.split())
    prefix = f"syncd-{label}-"
    if not text.startswith(prefix):
        raise IdentityError(
            f"a key that starts with {prefix!r} was expected", hint="is it another kind of key?"
        )
    coded = text.removeprefix(prefix)
    try:
        raw = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _mistyped(prefix) from error
    payload, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if checksum != _checksum(label, payload) or spell(label, payload) != text:
        raise _mistyped(prefix)
    return payload


def _checksum(label: str, payload: bytes) -> bytes:
    return hashlib.sha256(f"syncd-{label}-".encode() + payload).digest()[:_CHECKSUM_BYTES]


def _mistyped(prefix: str) -> IdentityError:
    return IdentityError(
        f"the key that starts with {prefix!r} is mistyped or cut off", hint="copy the whole line again"
    )
