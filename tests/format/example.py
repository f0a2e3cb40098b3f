"""The worked example of FORMAT.md. `python -m tests.format.example` writes it there anew.

Everything is fixed: the salt (a real one is random) and the patch (another zstd may find another one).
"""

from pathlib import Path

from syncd.archive import open_delta, read_bundle, sign_bundle
from syncd.envelope.epoch import EpochKey, Kind, delta_label
from syncd.envelope.keys import SigningKey
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta, PatchGroup, SealedDelta, apply_patch, encode_delta
from syncd.model import Digest
from tests.envelope import cobblestone
from tests.format.support import GENERATION

FORMAT = Path(__file__).parents[2] / "syncd" / "format" / "FORMAT.md"
BEGIN, END = "<!-- example: begin -->\n", "<!-- example: end -->\n"

SECRET = bytes(range(32))
KEY = EpochKey("chat", GENERATION, 1, SECRET)
SALT = bytes(range(0xA0, 0xB8))
OLD = {1: b"A" * 512, 2: b"B" * 512}
NEW = {**OLD, 2: b"B" * 100 + b"hello" + b"B" * 407}
PATCH = bytes.fromhex("28b52ffd0000850000384268656c6c6f42020093402d90822b")
SEQ = 7
SIGNING = SigningKey(bytes(range(0x20, 0x40)))


def parts() -> tuple[Digest, list[tuple[bytes, str]], list[tuple[bytes, str]]]:
    """Predecessor, annotated plaintext, annotated object."""
    predecessor = Digest().replace(added=OLD.items())
    digest = predecessor.replace(removed=[(2, OLD[2])], added=[(2, NEW[2])])
    delta = Delta(
        page_size=512,
        page_count=2,
        digest=digest,
        first_ms=1_790_000_000_000,
        last_ms=1_790_000_000_900,
        commits=3,
        boundary=True,
        rebase=False,
        groups=(PatchGroup((2,), PATCH),),
    )
    plain = encode_delta(delta)
    key, context = cobblestone.key_and_context(
        SECRET,
        KEY.database,
        KEY.generation,
        KEY.number,
        Kind.DELTA.value,
        delta_label(SEQ, predecessor),
    )
    sealed = cobblestone.seal(key, context, plain, SALT)
    content = Bundle(KEY.database, GENERATION, delta.last_ms, (SealedDelta(SEQ, KEY.number, sealed),))
    bundle = sign_bundle(SIGNING, content)

    (found,) = read_bundle(
        bundle, generation=GENERATION, first_seq=SEQ, database=KEY.database, verify_key=SIGNING.verify_key
    ).deltas
    if open_delta(KEY, found, predecessor, "example") != delta or apply_patch(OLD[2], PATCH, 512) != NEW[2]:
        raise AssertionError("the example does not open")
    return predecessor, _cut(plain, _PLAIN), _cut(bundle, _BUNDLE)


_PLAIN = [
    (1, "page size 512 (bits 0-2 = 0), boundary (bit 3)"),
    (1, "page count: 2"),
    (32, "digest of the database after this delta"),
    (6, "first change: 1790000000000 ms"),
    (2, "last change: 900 ms later"),
    (1, "commits: 3"),
    (1, "groups: 1"),
    (1, "  pages in the group: 1"),
    (1, "  first page: 1 page left out, so page 2"),
    (1, f"  bytes of the patch: {len(PATCH)}"),
    (len(PATCH), "  the patch, a zstd frame"),
]
_BUNDLE = [
    (8, 'header: "syncd", kind "D", version 1, zero'),
    (5, "database: 4 bytes, chat"),
    (16, "generation"),
    (1, f"first seq: {SEQ}"),
    (6, "newest change: 1790000000900 ms"),
    (1, "deltas: 1"),
    (1, "  epoch: 1"),
    (2, "  bytes of the sealed delta"),
    (24, "  Cobblestone-256: salt"),
    (32, "  key commitment"),
    (len(PATCH) + 47 + 16, "  the plaintext above, encrypted, and a tag of 16 bytes"),
    (64, "Ed25519 signature"),
]


def _cut(raw: bytes, layout: list[tuple[int, str]]) -> list[tuple[bytes, str]]:
    found, at = [], 0
    for size, text in layout:
        end = len(raw) if size < 0 else at + size
        found.append((raw[at:end], text))
        at = end
    if at != len(raw):
        raise AssertionError("the example's layout does not cover its bytes")
    return found


def _dump(rows: list[tuple[bytes, str]]) -> str:
    lines, at = [], 0
    for raw, text in rows:
        for start in range(0, len(raw), 16):
            piece = raw[start : start + 16]
            note = "" if start else text
            lines.append(f"{at + start:04x}  {piece.hex(' '):47}  {note}".rstrip())
        at += len(raw)
    return "```text\n" + "\n".join(lines) + "\n```\n"


def render() -> str:
    """The part of FORMAT.md between the two markers."""
    predecessor, plain, bundle = parts()
    size = sum(len(raw) for raw, _ in bundle)
    return f"""\
Database `chat`, generation `{GENERATION}`. It has two pages of 512 bytes: page 1 is 512 times `A`, page
2 is 512 times `B`. Its digest is

```text
{predecessor}
```

Somebody writes `hello` over bytes 100 to 104 of page 2. That becomes delta {SEQ}. Its plaintext:

{_dump(plain)}
The secret of epoch 1 is the bytes `00 01 02 ... 1f`, the signing key `20 21 22 ... 3f`. The object
`generations/{GENERATION}/deltas/{SEQ:016x}` has {size} bytes:

{_dump(bundle)}"""


def replaced(text: str) -> str:
    """FORMAT.md with the example written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + render() + END + after


if __name__ == "__main__":
    FORMAT.write_text(replaced(FORMAT.read_text()))
