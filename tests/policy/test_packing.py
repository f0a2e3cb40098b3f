"""Where pages are: against a model that keeps every image of every pack."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.format.manifest import PackRef
from syncd.policy.packing import Base, Change, KnownPack, Numbers, Packing

FULL = 4
Step = tuple[str, tuple[int, ...]]


@dataclass
class Model:
    """A database of page versions, and a target's packs with the versions that are in them."""

    pages: list[int] = field(default_factory=list)
    seq: int = 0
    changes: list[Change] = field(default_factory=list)
    packs: dict[bytes, list[int]] = field(default_factory=dict)
    base: Base | None = None
    known: list[KnownPack] = field(default_factory=list)
    missing: set[bytes] = field(default_factory=set)
    version: int = 0

    def change(self, numbers: tuple[int, ...], page_count: int) -> None:
        """A delta: these pages, and all that appear, have new images."""
        self.seq += 1
        changed = {n for n in numbers if n <= page_count} | set(range(len(self.pages) + 1, page_count + 1))
        self.pages = (self.pages + [0] * page_count)[:page_count]
        for number in changed:
            self.version += 1
            self.pages[number - 1] = self.version
        self.changes.append(Change(self.seq, np.array(sorted(changed), np.int64)))

    def plan(self, dead_share: float = 0.5) -> Packing:
        return Packing(
            len(self.pages),
            full=FULL,
            base=self.base,
            known=self.known,
            changes=self.changes,
            missing=frozenset(self.missing),
            dead_share=dead_share,
        )

    def snapshot(self, *, packs_until_it_stops: int = 1 << 30) -> Packing:
        packing = self.plan()
        for shipped, numbers in enumerate(packing.batches()):
            if shipped == packs_until_it_stops:
                return packing
            ref = self.ship(numbers)
            packing.add(ref, numbers)
            self.known.append(KnownPack(ref, self.seq, numbers))
        packs, runs = packing.result()
        runs.check(len(self.pages), (ref.pages for ref in packs))
        for run in runs:
            held = self.packs[packs[run.pack].pack_id]
            for i in range(run.count):
                assert held[run.offset + i] == self.pages[run.first_page - 1 + i]
        assert not {ref.pack_id for ref in packs} & self.missing
        self.base = Base(self.seq, packs, runs)
        self.known, self.missing = [], set()
        return packing

    def ship(self, numbers: Numbers) -> PackRef:
        pack_id = len(self.packs).to_bytes(16)
        self.packs[pack_id] = [self.pages[n - 1] for n in numbers.tolist()]
        return PackRef(pack_id, 1, bytes(32), len(numbers), 1)


def filled(pages: int) -> Model:
    model = Model()
    model.change((), pages)
    model.snapshot()
    return model


CHANGE = st.tuples(st.just("change"), st.lists(st.integers(1, 30), max_size=6).map(tuple), st.integers(0, 30))
SNAPSHOT = st.tuples(st.just("snapshot"), st.integers(0, 8) | st.just(1 << 30))
LOSE = st.tuples(st.just("lose"), st.integers(0, 20))
MERGE = st.tuples(st.just("merge"))


@settings(max_examples=300, deadline=None)
@given(st.lists(CHANGE | SNAPSHOT | LOSE | MERGE, max_size=25))
def test_every_page_is_where_the_map_says(steps: list[tuple[object, ...]]) -> None:
    model = Model()
    for step in steps:
        match step:
            case "change", tuple(numbers), int(page_count):
                model.change(numbers, page_count)
            case "snapshot", int(stops):
                packing = model.snapshot(packs_until_it_stops=stops)
                assert packing.changed + packing.moved + packing.reused == len(model.pages)
            case "lose", int(which) if model.packs:
                model.missing.add(list(model.packs)[which % len(model.packs)])
            case "merge", *_ if model.changes:
                # A change may be taken for a later one, never for an earlier one.
                union = np.unique(np.concatenate([change.numbers for change in model.changes]))
                model.changes = [Change(model.changes[-1].seq, union)]
            case _:
                pass
    model.snapshot()


def test_nothing_changed_ships_nothing() -> None:
    packing = filled(10).plan()
    assert (packing.changed, packing.moved, packing.reused) == (0, 0, 10)
    assert not len(packing.needed)
    assert not list(packing.batches())


def test_only_what_changed_is_shipped() -> None:
    model = filled(10)
    model.change((2, 7), 11)
    packing = model.plan()
    assert packing.needed.tolist() == [2, 7, 11]
    assert packing.moved == 0


def test_the_deadest_pack_is_given_up_and_its_pages_move_apart() -> None:
    model = filled(10)  # packs 1-4, 5-8, 9-10
    model.change((1, 2, 3, 6), 10)  # 4 of 14 images are dead
    packing = model.plan(dead_share=0.25)
    assert (packing.changed, packing.moved, packing.reused) == (4, 1, 5)
    assert [batch.tolist() for batch in packing.batches()] == [[1, 2, 3, 6], [4]]


def test_no_more_packs_are_given_up_than_it_takes() -> None:
    model = filled(12)
    model.change((1, 2, 3, 5, 6, 9), 12)  # 6 of 18 images are dead: 3, 2 and 1 of the packs' 4
    moved = {share: model.plan(dead_share=share).moved for share in (0.34, 0.33, 0.25, 0.2, 0.1, 0.0)}
    assert moved == {0.34: 0, 0.33: 1, 0.25: 1, 0.2: 1, 0.1: 3, 0.0: 6}


def test_a_restore_reads_at_most_twice_the_pages() -> None:
    model = filled(40)
    for number in range(1, 400):
        model.change((number * 7 % 40 + 1, number * 3 % 40 + 1), 40)
        model.snapshot()
        assert model.base is not None
        assert sum(ref.pages for ref in model.base.packs) <= 80


def test_small_packs_are_put_together_once_there_are_many() -> None:
    model = filled(64)
    most = 0
    for number in range(1, 65):
        model.change((number,), 64)
        model.snapshot()
        assert model.base is not None
        most = max(most, len(model.base.packs))
    assert most <= 16 + 16 + 1


def test_an_interrupted_snapshot_is_made_use_of_until_its_pages_change() -> None:
    model = Model()
    model.change((), 12)
    model.snapshot(packs_until_it_stops=2)
    assert model.plan().needed.tolist() == [9, 10, 11, 12]
    model.change((5,), 12)
    assert model.plan().needed.tolist() == [5, 9, 10, 11, 12]


def test_a_pack_that_is_gone_is_shipped_again() -> None:
    model = filled(10)
    model.missing.add((1).to_bytes(16))
    assert model.plan().needed.tolist() == [5, 6, 7, 8]
    assert model.plan().changed == 4


def test_a_result_before_everything_is_placed_is_refused() -> None:
    model = Model()
    model.change((), 3)
    with pytest.raises(ValueError, match="3 pages are in no pack"):
        model.plan().result()


def test_an_empty_database_has_an_empty_map() -> None:
    packs, runs = Model().plan().result()
    assert packs == ()
    assert len(runs) == 0
