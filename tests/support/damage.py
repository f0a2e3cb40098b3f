"""Bytes that are certain to differ: a byte that is set to a fixed value may have been that value already."""


def flipped(raw: bytes, at: int = -1, mask: int = 1) -> bytes:
    """`raw` with the bits of `mask` changed in the byte at `at` (from the end if negative)."""
    changed = bytearray(raw)
    changed[at] ^= mask
    return bytes(changed)
