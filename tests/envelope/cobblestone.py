"""Sealing as FORMAT.md describes it, written a second time, with a salt that the caller chooses.

From c2sp.org/chunked-encryption, the Cobblestone-256 instantiation: HKDF-Expand over SHA-512,
AES-256-GCM.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 16 * 1024


def expand(name: str, key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand, RFC 5869."""
    out = block = b""
    for counter in range(1, 256):
        block = hmac.digest(key, block + info + bytes((counter,)), name)
        out += block
        if len(out) >= size:
            break
    return out[:size]


def key_and_context(
    secret: bytes, database: str, generation: str, epoch: int, kind: bytes, label: bytes
) -> tuple[bytes, bytes]:
    """The key and the context of one sealed thing."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    key = expand("sha256", extracted, b"syncd v1 key " + kind, 32)
    parts = (database.encode(), generation.encode(), epoch.to_bytes(4), kind, label)
    return key, b"syncd v1" + b"".join(len(part).to_bytes(4) + part for part in parts)


def seal(key: bytes, context: bytes, plaintext: bytes, salt: bytes) -> bytes:
    """One Cobblestone-256 message."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = expand("sha512", key, info, 32 + 12 + 32)
    cipher, nonce, commitment = AESGCM(derived[:32]), int.from_bytes(derived[32:44]), derived[44:]
    chunks = [
        cipher.encrypt((nonce ^ index).to_bytes(12), plaintext[at : at + CHUNK], None)
        for index, at in enumerate(range(0, len(plaintext) // CHUNK * CHUNK + 1, CHUNK))
    ]
    return salt + commitment + b"".join(chunks)
