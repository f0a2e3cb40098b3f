"""Single objects, and what a reader that checks signature, names and form must say of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.damage import flipped
from tests.vectors.chains import NEWER, whole
from tests.vectors.maker import SIGNING, Maker

KINDS = ("epochs", "deltas", "packs", "snapshots")
DOMAINS = {"epochs": b"syncd v1 epoch\0", "deltas": b"syncd v1 bundle\0", "snapshots": b"syncd v1 manifest\0"}


@dataclass(frozen=True)
class Object:
    """`name` is what was asked for. `result`: ok, damaged, version (a newer one), forged, misplaced."""

    what: str
    kind: str
    name: str
    raw: bytes
    result: str


def objects() -> Iterator[Object]:
    """For each kind: the object, and ways in which it can be wrong."""
    maker, forged = whole(), whole(Maker().as_forger())
    for kind in KINDS:
        name = max(name for name in maker.objects if f"/{kind}/" in name)
        raw = maker.objects[name]
        yield Object("as the daemon writes it", kind, name, raw, "ok")
        yield Object("empty", kind, name, b"", "damaged")
        yield Object("the header only", kind, name, raw[:8], "damaged")
        yield Object("cut in the middle", kind, name, raw[: len(raw) // 2], "damaged")
        yield Object("the last byte cut off", kind, name, raw[:-1], "damaged")
        yield Object("a byte too much", kind, name, raw + b"\0", "damaged")
        yield Object("a bit flipped", kind, name, flipped(raw, -9, 4), "damaged")
        yield Object("a newer version", kind, name, raw[:6] + b"\2" + raw[7:], "version")
        yield Object("the reserved byte is set", kind, name, raw[:7] + b"\1" + raw[8:], "damaged")
        other = next(each for each in maker.objects if f"/{kind}/" not in each)
        yield Object("an object of another kind", kind, name, maker.objects[other], "damaged")
        sibling = min(name for name in maker.objects if f"/{kind}/" in name)
        yield Object("a sibling", kind, name, maker.objects[sibling], "misplaced")
        for place in (Maker(database="other"), Maker(generation=NEWER)):
            moved = whole(place)
            there = max(name for name in moved.objects if f"/{kind}/" in name)
            yield Object("from another archive", kind, name, moved.objects[there], "misplaced")
        if kind in DOMAINS:
            yield Object("signed by somebody else", kind, name, forged.objects[name], "forged")
            yield Object("a number spelled too long, signed", kind, name, long_number(kind, raw), "damaged")


def long_number(kind: str, raw: bytes) -> bytes:
    """The first number after the generation in two bytes instead of one."""
    at = 8 + 5 + 16
    body = raw[:at] + bytes((raw[at] | 0x80, 0)) + raw[at + 1 : -64]
    return body + SIGNING.sign(body, domain=DOMAINS[kind])
