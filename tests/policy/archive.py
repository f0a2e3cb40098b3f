"""Archives as retention sees them, made from a few words, and the policies they are judged by."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from syncd.format.marks import Mark, Purpose, Range
from syncd.format.names import generation_text
from syncd.policy.inventory import Bundle, Epoch, Inventory, Pack, Snapshot, Unreadable
from syncd.policy.retention import Retention

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp() * 1000)  # a Monday
GRACE = DAY


def generation(began_ms: int, number: int = 0) -> str:
    return generation_text(began_ms.to_bytes(6) + number.to_bytes(10))


G = generation(NOW - 400 * DAY)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def pack_id(number: int) -> bytes:
    return number.to_bytes(16)


def snapshot(
    seq: int, captured_ms: int, *, of: str = G, packs: Iterable[int] = (), stored_ms: int | None = None
) -> Snapshot:
    stored = captured_ms + MINUTE if stored_ms is None else stored_ms
    return Snapshot(of, seq, captured_ms, 1000, stored, frozenset(map(pack_id, packs)))


def bundle(first_seq: int, stored_ms: int, *, of: str = G) -> Bundle:
    return Bundle(of, first_seq, 100, stored_ms)


def pack(number: int, stored_ms: int, *, of: str = G) -> Pack:
    return Pack(of, pack_id(number), 10_000, stored_ms)


def epoch(number: int, stored_ms: int, *, of: str = G) -> Epoch:
    return Epoch(of, number, 300, stored_ms)


def mark(
    *ranges: Range,
    purpose: Purpose = Purpose.HOLD,
    created_ms: int = NOW - DAY,
    until_ms: int = NOW + DAY,
    reason: str = "case 7",
) -> Mark:
    return Mark("chat", generation(created_ms, 7), purpose, created_ms, until_ms, reason, ranges)


def captured(*moments: str, of: str = G) -> Inventory:
    """Snapshots at seq 10, 20, ..., in the order given."""
    return Inventory(snapshots=tuple(snapshot(10 * n, at(m), of=of) for n, m in enumerate(moments, 1)))


def steady(days: int, *, of: str = G, until_ms: int = NOW, first_seq: int = 0, per_day: int = 4) -> Inventory:
    """A snapshot a day, a pack for each and one for all, and `per_day` bundles of ten deltas."""
    step = DAY // per_day
    began = until_ms - days * DAY
    snapshots, bundles, packs = [], [], [pack(0, began, of=of)]
    for day in range(days):
        start_ms, seq = began + day * DAY, first_seq + day * per_day * 10
        snapshots.append(snapshot(seq, start_ms, of=of, packs=(0, day + 1)))
        packs.append(pack(day + 1, start_ms, of=of))
        bundles += [bundle(seq + 10 * i + 1, start_ms + i * step, of=of) for i in range(per_day)]
    return Inventory(tuple(snapshots), (), tuple(bundles), tuple(packs), (epoch(1, began, of=of),))


def joined(*parts: Inventory) -> Inventory:
    return Inventory(
        snapshots=tuple(s for p in parts for s in p.snapshots),
        unreadable=tuple(u for p in parts for u in p.unreadable),
        bundles=tuple(b for p in parts for b in p.bundles),
        packs=tuple(x for p in parts for x in p.packs),
        epochs=tuple(e for p in parts for e in p.epochs),
        marks=tuple(m for p in parts for m in p.marks),
        tombstoned=frozenset(n for p in parts for n in p.tombstoned),
    )


retentions = st.builds(
    Retention,
    pitr_ms=st.integers(0, 40 * DAY),
    hourly=st.integers(0, 5),
    daily=st.integers(0, 5),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    yearly=st.integers(0, 2),
    minimum=st.integers(0, 4),
    max_share=st.sampled_from([0.1, 0.25, 1.0]),
)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Up to three generations; clocks jump, manifests are damaged, things are left over."""
    parts = []
    for number in range(draw(st.integers(1, 3))):
        of = generation(NOW - draw(st.integers(-100, 400)) * DAY, number)
        times = st.integers(-3, 60).map(lambda days: NOW - days * DAY)
        seqs = sorted(draw(st.sets(st.integers(0, 200), max_size=8)))
        firsts = sorted(draw(st.sets(st.integers(1, 220), max_size=10)))
        ids = st.lists(st.integers(0, 9), max_size=3)
        snapshots = tuple(
            snapshot(seq, draw(times), of=of, packs=draw(ids), stored_ms=draw(times)) for seq in seqs
        )
        unreadable = (Unreadable(of, 201, 5, draw(times)),) if draw(st.booleans()) else ()
        parts.append(
            Inventory(
                snapshots,
                unreadable,
                tuple(bundle(first, draw(times), of=of) for first in firsts),
                tuple(pack(n, draw(times), of=of) for n in range(10)),
                tuple(epoch(n, draw(times), of=of) for n in range(draw(st.integers(0, 2)))),
                tuple(draw(st.lists(marks(of), max_size=2))),
            )
        )
    there = joined(*parts)
    names = [o.name for o in there.objects if isinstance(o, Snapshot | Bundle)]
    tombstoned = frozenset(draw(st.lists(st.sampled_from(names), max_size=5))) if names else frozenset()
    numbered = [replace(m, mark_id=generation(NOW, n)) for n, m in enumerate(there.marks)]
    return replace(there, marks=tuple(numbered), tombstoned=tombstoned)


@st.composite
def marks(draw: st.DrawFn, of: str) -> Mark:
    first = draw(st.integers(0, 220))
    return mark(
        Range(of, first, first + draw(st.integers(0, 50))),
        purpose=draw(st.sampled_from(Purpose)),
        until_ms=NOW + draw(st.integers(-10, 10)) * HOUR,
    )
