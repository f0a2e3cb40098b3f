"""Names of objects, relative to the archive root of one database (`<target url>/<database name>`).

    generations/<generation>/deltas/<first seq, 16 hex digits>
    generations/<generation>/packs/<random id, 32 hex digits>
    generations/<generation>/snapshots/<seq, 16 hex digits>
    generations/<generation>/epochs/<number, 8 hex digits>
    holds/<ULID>
    leases/<ULID>
    tombstones/<ULID>
    heartbeats/<ULID>
    claims/<number, 8 hex digits>

- A generation is a ULID in its canonical spelling: 26 characters, upper case (github.com/ulid/spec).
- Hex digits are lower case, and numbers are padded: the order of the names is the order of the numbers.
- Parsing takes the last segment of a name and accepts exactly what formatting gives.
"""

import re
from functools import lru_cache
from typing import Final

from ulid import ULID

from syncd.errors import ArchiveError

GENERATIONS: Final = "generations/"
HOLDS: Final = "holds/"
LEASES: Final = "leases/"
TOMBSTONES: Final = "tombstones/"
HEARTBEATS: Final = "heartbeats/"
CLAIMS: Final = "claims/"
MAX_SEQ: Final = (1 << 64) - 1
MAX_EPOCH: Final = (1 << 32) - 1
MAX_CLAIM: Final = (1 << 32) - 1
PACK_ID_BYTES: Final = 16
GENERATION_BYTES: Final = 16

_DATABASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEX: Final = re.compile(r"[0-9a-f]*")
_GENERATION: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CLAIM: Final = re.compile(r"claims/[0-9a-f]{8}")
_OBJECT: Final = re.compile(
    r"generations/[0-7][0-9A-HJKMNP-TV-Z]{25}/"
    r"(?:(?:deltas|snapshots)/[0-9a-f]{16}|packs/[0-9a-f]{32}|epochs/[0-9a-f]{8})"
)


def check_database(name: str) -> str:
    """`name`, where it is fit to be a path segment of every store. Raises ValueError."""
    if not _DATABASE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a database: up to 64 letters, digits, '.', '_' and '-', "
            "the first a letter or digit"
        )
    return name


def generation_bytes(generation: str) -> bytes:
    """The 16 bytes of a generation. Raises ValueError where the text is not a canonical ULID."""
    try:
        ulid = ULID.from_str(generation)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{generation!r} is no generation: {error}") from error
    if str(ulid) != generation:
        raise ValueError(f"{generation!r} is no generation: {ulid} is the canonical spelling")
    return bytes(ulid)


def generation_text(raw: bytes) -> str:
    """The generation of 16 bytes."""
    return str(ULID.from_bytes(raw))


@lru_cache(maxsize=256)
def generation_dir(generation: str) -> str:
    """Prefix of all objects of a generation."""
    generation_bytes(generation)
    return f"{GENERATIONS}{generation}/"


def deltas_dir(generation: str) -> str:
    """Prefix of the bundles of deltas."""
    return generation_dir(generation) + "deltas/"


def packs_dir(generation: str) -> str:
    """Prefix of the packs."""
    return generation_dir(generation) + "packs/"


def snapshots_dir(generation: str) -> str:
    """Prefix of the manifests."""
    return generation_dir(generation) + "snapshots/"


def epochs_dir(generation: str) -> str:
    """Prefix of the epochs."""
    return generation_dir(generation) + "epochs/"


def deltas_name(generation: str, first_seq: int) -> str:
    """Name of the bundle whose first delta is `first_seq`."""
    return deltas_dir(generation) + _fixed(first_seq, MAX_SEQ, 16)


def pack_name(generation: str, pack_id: bytes) -> str:
    """Name of a pack."""
    if len(pack_id) != PACK_ID_BYTES:
        raise ValueError(f"a pack id has {PACK_ID_BYTES} bytes, not {len(pack_id)}")
    return packs_dir(generation) + pack_id.hex()


def snapshot_name(generation: str, seq: int) -> str:
    """Name of the manifest of the snapshot at `seq`."""
    return snapshots_dir(generation) + _fixed(seq, MAX_SEQ, 16)


def epoch_name(generation: str, number: int) -> str:
    """Name of an epoch."""
    return epochs_dir(generation) + _fixed(number, MAX_EPOCH, 8)


def hold_name(mark_id: str) -> str:
    """Name of a hold, whose id is a ULID."""
    return HOLDS + generation_text(generation_bytes(mark_id))


def lease_name(mark_id: str) -> str:
    """Name of a lease, whose id is a ULID."""
    return LEASES + generation_text(generation_bytes(mark_id))


def tombstone_name(mark_id: str) -> str:
    """Name of a tombstone, whose id is a ULID."""
    return TOMBSTONES + generation_text(generation_bytes(mark_id))


def heartbeat_name(mark_id: str) -> str:
    """Name of a heartbeat, whose id is a ULID."""
    return HEARTBEATS + generation_text(generation_bytes(mark_id))


def claim_name(number: int) -> str:
    """Name of a claim; the first one is 1."""
    return CLAIMS + _fixed(number, MAX_CLAIM, 8)


@lru_cache(maxsize=256)
def generation_ms(generation: str) -> int:
    """When a generation began, in ms, by the clock of the host that named it."""
    return int.from_bytes(generation_bytes(generation)[:6])


def is_generation(text: str) -> bool:
    """Whether `text` is a generation in its canonical spelling."""
    return _GENERATION.fullmatch(text) is not None


def is_claim(name: str) -> bool:
    """Whether `name` is that of a claim."""
    return _CLAIM.fullmatch(name) is not None


def is_object(name: str) -> bool:
    """Whether `name` is that of an epoch, a manifest, a pack or a bundle of some generation."""
    return _OBJECT.fullmatch(name) is not None


def parse_mark(name: str) -> str:
    """The ULID in the name of a hold, a lease or a tombstone. Raises ArchiveError."""
    last = name.rpartition("/")[2]
    try:
        generation_bytes(last)
    except ValueError as error:
        raise ArchiveError(f"{name!r} does not end in a ULID") from error
    return last


def parse_generation(text: str) -> str:
    """A generation as a path segment (a closing `/` is allowed). Raises ArchiveError."""
    generation = text.removeprefix(GENERATIONS).removesuffix("/")
    try:
        generation_bytes(generation)
    except ValueError as error:
        raise ArchiveError(f"{text!r} is not the directory of a generation: {error}") from error
    return generation


def parse_seq(name: str) -> int:
    """The sequence number in the name of a bundle or of a manifest. Raises ArchiveError."""
    return int(_digits(name, 16), 16)


def parse_pack_id(name: str) -> bytes:
    """The id in the name of a pack. Raises ArchiveError."""
    return bytes.fromhex(_digits(name, 2 * PACK_ID_BYTES))


def parse_epoch(name: str) -> int:
    """The number in the name of an epoch. Raises ArchiveError."""
    return int(_digits(name, 8), 16)


def parse_claim(name: str) -> int:
    """The number in the name of a claim. Raises ArchiveError."""
    return int(_digits(name, 8), 16)


def _fixed(value: int, most: int, width: int) -> str:
    if not 0 <= value <= most:
        raise ValueError(f"{value} does not fit into {width} hex digits")
    return f"{value:0{width}x}"


def _digits(name: str, width: int) -> str:
    last = name.rpartition("/")[2]
    if len(last) != width or not _HEX.fullmatch(last):
        raise ArchiveError(f"{name!r} does not end in {width} lower-case hex digits")
    return last
