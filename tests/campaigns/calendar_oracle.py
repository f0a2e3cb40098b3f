"""What an archive must keep and may keep, from the rules as the configuration tells them, written anew.

- `must` is what has to stay; `may` is that, and what leads to it.
- Order is (generation, seq). What is dated more than five minutes ahead neither counts nor goes.
- Nothing of syncd.policy is used: only the formats, to read what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from syncd.archive import read_bundle, read_hold, read_lease, read_manifest, read_tombstone
from syncd.format.marks import Mark, Tombstone
from syncd.store.memory import Held
from tests.support.fakes import SIGNING_KEY
from tests.verbs.bench import NAME

VERIFY_KEY = SIGNING_KEY.verify_key
SKEW_MS = 300_000
LEASE_MS = 86_400_000
LAST = 1 << 64
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Position = tuple[str, int]


@dataclass(frozen=True)
class Rule:
    """As in the configuration; times in milliseconds."""

    pitr_ms: int
    hourly: int
    daily: int
    weekly: int
    monthly: int
    yearly: int
    minimum: int
    max_share: float


@dataclass(frozen=True)
class Point:
    name: str
    generation: str
    seq: int
    captured_ms: int
    stored_ms: int
    epoch: int
    epochs: frozenset[int]
    packs: frozenset[str]

    @property
    def order(self) -> Position:
        return self.generation, self.seq


@dataclass(frozen=True)
class Piece:
    """A bundle: the deltas first to last, and the epochs that they name."""

    name: str
    generation: str
    first: int
    last: int
    stored_ms: int
    epochs: frozenset[int]


@dataclass
class View:
    """What is in a store, read."""

    points: list[Point] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    packs: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    holds: list[Mark] = field(default_factory=list)
    leases: list[tuple[Mark, int]] = field(default_factory=list)
    tombstones: list[tuple[str, Tombstone, int]] = field(default_factory=list)

    @property
    def objects(self) -> set[str]:
        return {*(p.name for p in self.points), *(p.name for p in self.pieces), *self.packs, *self.epochs}


@dataclass
class Known:
    """Objects that were read before, by name and content: after a deletion another may come."""

    points: dict[tuple[str, Held], Point] = field(default_factory=dict)
    pieces: dict[tuple[str, Held], Piece] = field(default_factory=dict)


def generation_of(name: str) -> str:
    return name.split("/")[1]


def began_ms(generation: str) -> int:
    """A ULID's first ten characters are its time."""
    ms = 0
    for character in generation[:10]:
        ms = ms * 32 + CROCKFORD.index(character)
    return ms


def look(held: Mapping[str, Held], known: Known) -> View:
    """Read a store, with the help of what is `known`."""
    view = View()
    for name, each in sorted(held.items()):
        kind = name.split("/")[2] if name.startswith("generations/") else name.split("/")[0]
        match kind:
            case "snapshots":
                if (name, each) not in known.points:
                    known.points[name, each] = _point(name, each)
                view.points.append(known.points[name, each])
            case "deltas":
                if (name, each) not in known.pieces:
                    known.pieces[name, each] = _piece(name, each)
                view.pieces.append(known.pieces[name, each])
            case "packs":
                view.packs[name] = each.modified_ms
            case "epochs":
                view.epochs[name] = each.modified_ms
            case _:
                _add_mark(view, kind, name, each)
    return view


def _add_mark(view: View, kind: str, name: str, held: Held) -> None:
    match kind:
        case "holds":
            view.holds.append(read_hold(held.data, mark_id=name[6:], database=NAME, verify_key=VERIFY_KEY))
        case "leases":
            lease = read_lease(held.data, mark_id=name[7:], database=NAME)
            length = min(LEASE_MS, lease.until_ms - lease.created_ms)
            view.leases.append((lease, held.modified_ms + length))
        case "tombstones":
            buried = read_tombstone(held.data, mark_id=name[11:])
            view.tombstones.append((name, buried, max(held.modified_ms, buried.created_ms)))
        case _:
            pass


def reachable(view: View) -> set[Position]:
    """Every position that can be restored: a snapshot with all its packs, then deltas without a gap."""
    found: set[Position] = set()
    held = {(p.generation, n) for p in view.pieces for n in range(p.first, p.last + 1)}
    for point in view.points:
        if point.packs <= view.packs.keys():
            generation, seq = point.order
            found.add((generation, seq))
            while (generation, seq + 1) in held and (generation, seq + 1) not in found:
                seq += 1
                found.add((generation, seq))
    return found


def broken(view: View) -> list[str]:
    """Manifests that miss a pack or an epoch, and bundles that miss one."""
    wrong = [f"{p.name} misses a pack" for p in view.points if not p.packs <= view.packs.keys()]
    users: list[Point | Piece] = [*view.points, *view.pieces]
    named = {epoch_name(p.generation, n) for p in users for n in p.epochs}
    return wrong + [f"{name} is missing" for name in named - view.epochs.keys()]


def must(view: View, rule: Rule, now_ms: int) -> set[str]:
    """Names of the snapshots and bundles that have to stay."""
    points = sorted(view.points, key=lambda p: p.order)
    counting = [p for p in points if not is_future(now_ms, p.generation, p.captured_ms, p.stored_ms)]
    kept = {p.name for p in points if p not in counting}
    kept |= {p.name for p in view.pieces if is_future(now_ms, p.generation, p.stored_ms)}
    kept |= {p.name for p in counting[-max(1, rule.minimum) :]}
    if counting:
        used = last_in_use(view, counting, now_ms)
        newest = max(p.seq for p in counting if p.generation == used)
        kept |= _between(view, points, used, newest, LAST)
    for count, label in (
        (rule.hourly, "%Y %j %H"),
        (rule.daily, "%Y %j"),
        (rule.weekly, "%G %V"),
        (rule.monthly, "%Y %m"),
        (rule.yearly, "%Y"),
    ):
        latest: dict[str, str] = {}
        for point in reversed(counting):
            latest.setdefault(_date(point.captured_ms).strftime(label), point.name)
        kept |= set(list(latest.values())[:count])
    kept |= _window(view, counting, now_ms - rule.pitr_ms)
    for mark, until_ms in [*((h, h.until_ms) for h in view.holds), *view.leases]:
        if now_ms < until_ms:
            for each in mark.ranges:
                kept |= _between(view, points, each.generation, each.first_seq, each.last_seq)
    return kept


def may(view: View, rule: Rule, now_ms: int) -> set[str]:
    """The same, and what stands between a bundle that stays and the snapshot in front of it."""
    kept = must(view, rule, now_ms)
    for piece in [p for p in view.pieces if p.name in kept]:
        points = [p for p in view.points if p.generation == piece.generation and p.seq < piece.last]
        base = max(points, key=lambda p: p.seq, default=None)
        after = base.seq if base else -1
        if base and after < piece.first:
            kept.add(base.name)
        kept |= {
            p.name for p in view.pieces if p.generation == piece.generation and after < p.last < piece.first
        }
    return kept


def may_epochs(view: View, generation: str) -> set[str]:
    """Names of the epochs that a generation in which something stays may keep.

    What manifests name, the newest, and what lies between the first and last of deltas that nobody can tell
    to have a gap between them: where two snapshots stand there, one has no delta behind it. And all that
    deltas to come may name.
    """
    points = sorted((p for p in view.points if p.generation == generation), key=lambda p: p.seq)
    pieces = sorted((p for p in view.pieces if p.generation == generation), key=lambda p: p.first)
    named = {n for p in points for n in p.epochs}
    numbers = sorted(int(name[-8:], 16) for name in view.epochs if generation_of(name) == generation)
    groups: list[list[Piece]] = []
    for piece in pieces:
        end = groups[-1][-1].last if groups else 0
        if not groups or len([p for p in points if end <= p.seq < piece.last]) > 1:
            groups.append([])
        groups[-1].append(piece)
    spans = [(min(group[0].epochs), max(group[-1].epochs)) for group in groups]
    if points and (not pieces or pieces[-1].last <= points[-1].seq):
        spans.append((max(pieces[-1].epochs) if pieces else 0, numbers[-1]))
    elif groups:
        spans.append((min(groups[-1][0].epochs), numbers[-1]))
    between = {n for n in numbers if any(low <= n <= high for low, high in spans)}
    return {epoch_name(generation, n) for n in named | between | set(numbers[-1:])}


def epoch_name(generation: str, number: int) -> str:
    return f"generations/{generation}/epochs/{number:08x}"


def is_future(now_ms: int, generation: str, *times_ms: int) -> bool:
    return max((began_ms(generation), *times_ms)) > now_ms + SKEW_MS


def last_in_use(view: View, counting: list[Point], now_ms: int) -> str:
    """Of the generations with a snapshot that counts, the one of which the store received something last."""
    here = {p.generation for p in counting}
    times = [(p.stored_ms, p.generation) for p in counting]
    times += [(p.stored_ms, p.generation) for p in view.pieces if p.generation in here]
    return max(t for t in times if not is_future(now_ms, t[1], t[0]))[1]


def _window(view: View, counting: list[Point], since_ms: int) -> set[str]:
    past = [p for p in counting if p.captured_ms <= since_ms and p.stored_ms <= since_ms]
    kept: set[str] = set()
    for generation in {p.generation for p in view.points} | {p.generation for p in view.pieces}:
        base = max((p.seq for p in past if p.generation == generation), default=-1)
        mine = [p for p in counting if p.generation == generation and p.seq >= base]
        pieces = [p for p in view.pieces if p.generation == generation and p.last > base]
        in_use = max([*(p.stored_ms for p in mine), *(p.stored_ms for p in pieces)], default=0) > since_ms
        if in_use or not past or generation >= past[-1].generation:
            kept |= {p.name for p in mine} | {p.name for p in pieces}
    return kept


def _between(view: View, points: list[Point], generation: str, first: int, last: int) -> set[str]:
    mine = [p for p in points if p.generation == generation]
    base = max((p.seq for p in mine if p.seq <= first), default=-1)
    pieces = [p for p in view.pieces if p.generation == generation and p.first <= last and p.last > base]
    return {p.name for p in mine if base <= p.seq <= last} | {p.name for p in pieces}


def _point(name: str, held: Held) -> Point:
    generation, seq = generation_of(name), int(name[-16:], 16)
    m = read_manifest(held.data, generation=generation, seq=seq, database=NAME, verify_key=VERIFY_KEY)
    packs = frozenset(f"generations/{generation}/packs/{pack.pack_id.hex()}" for pack in m.packs)
    epochs = frozenset({m.epoch, *(pack.epoch for pack in m.packs)})
    return Point(name, generation, seq, m.captured_ms, held.modified_ms, m.epoch, epochs, packs)


def _piece(name: str, held: Held) -> Piece:
    generation, first = generation_of(name), int(name[-16:], 16)
    bundle = read_bundle(
        held.data, generation=generation, first_seq=first, database=NAME, verify_key=VERIFY_KEY
    )
    epochs = frozenset(delta.epoch for delta in bundle.deltas)
    return Piece(name, generation, first, bundle.last_seq, held.modified_ms, epochs)


def _date(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
