"""Room in the heap lasts as long as somebody wants it, and is given back by the last."""

import pytest

from syncd import heap

Option = tuple[int, int]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Option]:
    """What the C library is told, which it is not."""
    options: list[Option] = []
    monkeypatch.setattr(heap, "_set", lambda *given: options.extend(given))
    monkeypatch.setattr(heap, "_BOUNDS", heap._Bounds())
    return options


def test_room_is_given_back_by_the_last_who_wants_it(told: list[Option]) -> None:
    heap.bound_heap(large_bytes=1 << 18, spare_bytes=1 << 17)
    bounds = [option for option in told if option[0] != heap._M_ARENA_MAX]
    told.clear()
    with heap.roomy_heap():
        room = list(told)
        assert {name for name, _ in room} == {name for name, _ in bounds}
        assert all(more > less for (_, more), (_, less) in zip(room, bounds, strict=True))
        with heap.roomy_heap():
            told.clear()
        assert told == []
    assert told == bounds


def test_who_was_told_no_bounds_has_none_afterwards(told: list[Option]) -> None:
    with heap.roomy_heap():
        told.clear()
    assert told == []
    assert heap._BOUNDS.roomy == 0
