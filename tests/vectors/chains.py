"""Whole archives: what each is, and what a restore of its newest state must give."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from syncd.format.head import Head
from syncd.format.names import deltas_name, epoch_name, pack_name, snapshot_name
from syncd.format.runs import Run
from syncd.model import Digest
from tests.format.support import GENERATION
from tests.support.damage import flipped
from tests.vectors.maker import SIZE, STRANGER, Maker, Pages, digest_of, image

NEWER = "01BX5ZZKBKACTAV9WEVGEMMVRZ"


@dataclass(frozen=True)
class Chain:
    """`objects` below the archive of `chat`; `restored` is None where a restore must be refused.

    `names` is in the refusal. `stays`: syncd finds a way past a damaged manifest, recover.py does not.
    """

    what: str
    objects: dict[str, bytes]
    restored: bytes | None = None
    names: str = ""
    stays: bytes | None = None
    head: str = ""


def page(letter: str) -> bytes:
    return letter.encode() * SIZE


STATES: list[Pages] = [
    {1: page("a"), 2: page("b"), 3: page("c")},
    {1: page("a"), 2: page("B"), 3: page("c")},
    {1: page("a"), 2: page("B"), 3: page("c"), 4: page("d")},
    {1: page("A"), 2: page("B")},
    {1: page("A"), 2: page("x")},
    {1: page("A"), 2: page("y"), 3: page("z")},
]
LAST = image(STATES[5])


def whole(maker: Maker | None = None, *, until: int = 5) -> Maker:
    """Snapshots at 0 and 3 that share a pack, deltas in bundles 1-2, 3-4, 5, epoch 2 from delta 3 on."""
    maker = maker or Maker()
    maker.epoch(1)
    maker.epoch(2)
    maker.pack(1, {number: STATES[0][number] for number in (1, 2, 3)})
    maker.snapshot(0, 1, STATES[0])
    maker.pack(2, {1: STATES[3][1], 2: STATES[3][2], 9: page("!")})
    maker.snapshot(3, 2, STATES[3])
    deltas = [maker.delta(n, 1 if n < 3 else 2, STATES[n - 1], STATES[n]) for n in range(1, until + 1)]
    maker.bundle(*deltas[:2])
    maker.bundle(*deltas[2:4])
    if until == 5:
        maker.bundle(deltas[4])
    return maker


def ok() -> Iterator[tuple[str, Chain]]:
    maker = whole()
    litter = {
        f"holds/{NEWER}": b"?",
        f"leases/{NEWER}": b"?",
        f"tombstones/{NEWER}": b"?",
        f"heartbeats/{NEWER}": b"?",
        f"generations/{GENERATION}/deltas/.{1:016x}.partial": b"?",
        f"generations/{GENERATION}/snapshots/notes.txt": b"?",
        "generations/zzz/deltas/x": b"?",
    }
    head = str(Head.of(GENERATION, 5, maker.objects[deltas_name(GENERATION, 5)]))
    yield "ok", Chain("as the daemon writes it", maker.objects, LAST, head=head)
    yield "ok-litter", Chain("with marks and what was cut off", maker.objects | litter, LAST)
    pruned = {name: raw for name, raw in maker.objects.items() if name != deltas_name(GENERATION, 1)}
    yield "ok-pruned", Chain("a gap before a snapshot, as retention leaves it", pruned, LAST)
    young = Maker(generation=NEWER)
    young.epoch(1)
    yield "ok-young", Chain("a newer generation has no snapshot yet", maker.objects | young.objects, LAST)
    piece = whole(until=4)
    piece.bundle(piece.delta(5, 2, STATES[4], STATES[5], boundary=False))
    yield "ok-piece", Chain("the last delta is a piece of a larger batch", piece.objects, image(STATES[4]))
    rebased = whole()
    large: Pages = {1: b"L" * 1024}
    rebased.bundle(rebased.delta(6, 2, STATES[5], large, rebase=True))
    yield "ok-rebase", Chain("the page size changes", rebased.objects, image(large))
    empty = whole()
    empty.bundle(empty.delta(6, 2, STATES[5], {}))
    yield "ok-empty", Chain("the database becomes empty", empty.objects, b"")


def damaged() -> Iterator[tuple[str, Chain]]:
    names = {
        "epoch": epoch_name(GENERATION, 2),
        "manifest": snapshot_name(GENERATION, 3),
        "pack": pack_name(GENERATION, whole().packs[1][0].pack_id),
        "bundle": deltas_name(GENERATION, 5),
    }
    changes: dict[str, Callable[[bytes], bytes]] = {
        "truncated": lambda raw: raw[:-1],
        "extended": lambda raw: raw + b"\0",
        "flipped": flipped,
        "newer-version": lambda raw: raw[:6] + b"\2" + raw[7:],
    }
    for change, alter in changes.items():
        for kind, name in names.items():
            objects = dict(whole().objects)
            objects[name] = alter(objects[name])
            stays = LAST if kind == "manifest" else None
            yield f"{change}-{kind}", Chain(f"{kind} {change}", objects, None, name.split("/", 2)[2], stays)
    for kind, name in names.items():
        objects = dict(whole().objects)
        del objects[name]
        gone = {"manifest": LAST, "bundle": image(STATES[4])}.get(kind)
        yield f"removed-{kind}", Chain(f"no {kind}", objects, gone, "" if gone else name.split("/", 2)[2])


def forged() -> Iterator[tuple[str, Chain]]:
    """Made with public keys and what lies in the bucket: it is not the daemon that signed."""
    yield "forged-all", Chain("all made by a forger", whole(Maker().as_forger()).objects)
    objects = whole().objects
    for kind in ("epochs", "deltas"):
        other = {name: raw for name, raw in whole(Maker().as_forger()).objects.items() if f"/{kind}/" in name}
        yield f"forged-{kind}", Chain(f"{kind} signed by a forger", objects | other, None, f"{kind}/")
    stranger = whole(Maker(identity=STRANGER))
    yield "wrong-identity", Chain("sealed for somebody else", stranger.objects, None, "epoch")


def misplaced() -> Iterator[tuple[str, Chain]]:
    one, two, three = (deltas_name(GENERATION, first) for first in (1, 3, 5))
    only_first = {k: v for k, v in whole().objects.items() if k != snapshot_name(GENERATION, 3)}
    objects = {name: raw for name, raw in only_first.items() if name != two}
    yield "discontinuous", Chain("a bundle is missing in the middle", objects)
    objects = only_first | {one: only_first[two], two: only_first[one]}
    yield "reordered", Chain("two bundles have each other's name", objects, None, "deltas/0000000000000001")
    objects = only_first | {three: only_first[one]}
    yield "replayed", Chain("an older bundle once more", objects, None, "deltas/0000000000000005")
    other = whole(Maker(database="other"))
    yield "other-database", Chain("the archive of another database", other.objects)
    newer = whole(Maker(generation=NEWER))
    moved = {name.replace(NEWER, GENERATION): raw for name, raw in newer.objects.items()}
    yield "other-generation", Chain("the objects of another generation", moved)
    packs = [name for name in whole().objects if "/packs/" in name]
    objects = whole().objects | {packs[1]: whole().objects[packs[0]]}
    yield "swapped-pack", Chain("a pack under another's name", objects, None, packs[1].split("/", 2)[2])


def malformed() -> Iterator[tuple[str, Chain]]:
    """Signed and sealed by the daemon's keys, and wrong all the same."""
    maker = whole()
    maker.bundle(maker.delta(6, 2, STATES[5], STATES[4], digest=Digest(7)))
    yield "malformed-digest", Chain("a delta leads to another state than it says", maker.objects)
    maker = whole()
    maker.bundle(maker.delta(6, 2, STATES[5], STATES[4], before=Digest(7)))
    yield "malformed-predecessor", Chain("a delta follows another state", maker.objects)
    maker = whole()
    maker.snapshot(3, 2, STATES[3], runs=[Run(1, 2, 0, 1)])
    yield "malformed-run", Chain("a run puts a page in another's place", maker.objects, None, "packs/")
    maker = whole()
    maker.snapshot(3, 2, STATES[3], digest=Digest(7))
    yield "malformed-snapshot", Chain("a snapshot has another digest", maker.objects, None, "snapshot")
    maker = whole()
    taller = {**STATES[5], 4: page("4")}
    maker.bundle(maker.delta(6, 2, taller, {**taller, 5: page("5")}, before=digest_of(STATES[5])))
    yield "malformed-growth", Chain("a new page is left out", maker.objects)


def chains() -> dict[str, Chain]:
    """All, by name."""
    return dict(each for family in (ok, damaged, forged, misplaced, malformed) for each in family())
