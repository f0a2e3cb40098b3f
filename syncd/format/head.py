"""A head: one line of text that says how far an archive was, to compare it with later.

- `<generation>:<seq>:<hash>`, the hash being the first 16 hex digits of SHA-256 of the object that ends at
  seq: the bundle whose last delta it is, or the manifest of the snapshot there.
- Both objects are signed, so the archive alone says what its newest head is. Only who kept a head from
  elsewhere can tell that the archive was cut or set back since.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from syncd.format.names import MAX_SEQ, generation_bytes

_TEXT: Final = re.compile(r"([0-9A-Z]{26}):(0|[1-9][0-9]{0,19}):([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Head:
    """A generation, the last seq of it, and the first 8 bytes of its object's SHA-256."""

    generation: str
    seq: int
    hash: bytes

    @classmethod
    def of(cls, generation: str, seq: int, raw: bytes) -> "Head":
        """The head that the object `raw` is."""
        return cls(generation, seq, hashlib.sha256(raw).digest()[:8])

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read what `str` gives. Raises ValueError."""
        match = _TEXT.fullmatch(text.strip())
        if match is None or int(match[2]) > MAX_SEQ:
            raise ValueError(f"{text!r} is no head: <generation>:<seq>:<16 hex digits>")
        generation_bytes(match[1])
        return cls(match[1], int(match[2]), bytes.fromhex(match[3]))

    @override
    def __str__(self) -> str:
        return f"{self.generation}:{self.seq}:{self.hash.hex()}"
