"""What the tests of the format share: valid things to start from, and ways to break bytes."""

from collections.abc import Iterator

from hypothesis import strategies as st

from syncd.format.delta import Delta, PatchGroup
from syncd.format.epoch import EpochObject, Wrap
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import MAX_EPOCH, generation_text
from syncd.format.runs import Run, Runs
from syncd.format.wire import MAX_MS, MAX_VARINT
from syncd.model import Digest
from tests.support.damage import flipped

GENERATION = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

DELTA = Delta(
    page_size=4096,
    page_count=9000,
    digest=Digest(5),
    first_ms=1_790_000_000_000,
    last_ms=1_790_000_000_900,
    commits=3,
    boundary=True,
    rebase=False,
    groups=(PatchGroup((1, 2, 700), b"one"), PatchGroup((701, 9000), b"two")),
)
MANIFEST = Manifest(
    database="chat",
    generation=GENERATION,
    seq=700,
    epoch=2,
    captured_ms=1_790_000_000_000,
    created_ms=1_790_000_005_000,
    page_size=4096,
    page_count=10,
    packs=(PackRef(b"p" * 16, 9000, b"s" * 32, 7, 2), PackRef(b"q" * 16, 8000, b"t" * 32, 5, 3)),
    runs=Runs.of(Run(1, 3, 0, 4), Run(4, 5, 1, 0), Run(9, 2, 0, 1)),
    sealed_digest=b"d" * 104,
)
EPOCH = EpochObject(
    database="chat",
    generation=GENERATION,
    number=2,
    created_ms=1_790_000_000_000,
    wraps=(Wrap(1, b"a" * 16, b"first"), Wrap(2, b"b" * 16, b"second")),
    signature=b"s" * 64,
)


def truncations(raw: bytes) -> Iterator[bytes]:
    """Every proper prefix."""
    for size in range(len(raw)):
        yield raw[:size]


def flips(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Every byte, changed in its lowest bit, its highest bit, and all bits."""
    for at in range(len(raw)):
        for mask in (0x01, 0x80, 0xFF):
            yield at, flipped(raw, at, mask)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    size = 1 << draw(st.integers(9, 16))
    numbers = sorted(draw(st.sets(st.integers(1, 1 << 20), max_size=40)))
    groups = []
    while numbers:
        count = draw(st.integers(1, len(numbers)))
        groups.append(PatchGroup(tuple(numbers[:count]), draw(st.binary(min_size=1, max_size=40))))
        numbers = numbers[count:]
    last = groups[-1].pages[-1] if groups else 0
    first_ms = draw(st.integers(0, MAX_MS))
    return Delta(
        page_size=size,
        page_count=draw(st.integers(last, 0xFFFFFFFE)),
        digest=Digest(draw(st.integers(0, (1 << 256) - 1))),
        first_ms=first_ms,
        last_ms=draw(st.integers(first_ms, MAX_MS)),
        commits=draw(st.integers(0, MAX_VARINT)),
        boundary=draw(st.booleans()),
        rebase=draw(st.booleans()),
        groups=tuple(groups),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    sizes = draw(st.lists(st.integers(1, 50), max_size=6))
    packs = tuple(
        PackRef(
            bytes((index,)) * 16,
            draw(st.integers(1, MAX_VARINT)),
            draw(st.binary(min_size=32, max_size=32)),
            n,
            draw(st.integers(0, MAX_EPOCH)),
        )
        for index, n in enumerate(sizes)
    )
    order = draw(st.permutations(range(len(packs))))
    order += draw(st.lists(st.integers(0, len(packs) - 1), max_size=6)) if packs else []
    runs: list[Run] = []
    page = 1
    for pack in order:
        offset = draw(st.integers(0, sizes[pack] - 1))
        count = draw(st.integers(1, sizes[pack] - offset))
        runs.append(Run(page, count, pack, offset))
        page += count
    return Manifest(
        database=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        generation=generation_text(draw(st.binary(min_size=16, max_size=16))),
        seq=draw(st.integers(0, MAX_VARINT)),
        epoch=draw(st.integers(0, 0xFFFFFFFF)),
        captured_ms=draw(st.integers(0, MAX_MS)),
        created_ms=draw(st.integers(0, MAX_MS)),
        page_size=1 << draw(st.integers(9, 16)),
        page_count=page - 1,
        packs=packs,
        runs=Runs.of(*runs),
        sealed_digest=draw(st.binary(max_size=120)),
    )
