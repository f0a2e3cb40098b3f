import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError, FormatVersionError
from syncd.format.wire import MAX_VARINT, ObjectKind, Reader, check_ms, header, varint


@settings(deadline=None)
@given(st.integers(0, MAX_VARINT))
def test_a_varint_comes_back(value: int) -> None:
    reader = Reader(varint(value), "it")
    assert reader.varint() == value
    reader.end()


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (MAX_VARINT, "ffffffffffffffffff01")],
)
def test_a_varint_is_spelled_as_leb128_spells(value: int, raw: str) -> None:
    assert varint(value).hex() == raw


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_what_is_no_64_bit_integer_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        varint(value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "ends 1 bytes early"),
        ("80", "ends 1 bytes early"),
        ("8000", "shortest"),
        ("ff00", "shortest"),
        ("ffffffffffffffffff02", "above the limit"),
        ("ffffffffffffffffffff01", "more than 64 bits"),
    ],
)
def test_a_malformed_varint_is_refused(raw: str, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        Reader(bytes.fromhex(raw), "it").varint()


def test_a_varint_above_its_limit_is_refused() -> None:
    assert Reader(b"\x07", "it").varint(most=7) == 7
    with pytest.raises(ArchiveError, match="above the limit of 6"):
        Reader(b"\x07", "it").varint(most=6)


def test_a_count_cannot_promise_more_items_than_bytes() -> None:
    assert Reader(b"\x02ab", "it").count() == 2
    with pytest.raises(ArchiveError, match="3 items cannot follow in 2 bytes"):
        Reader(b"\x03ab", "it").count()


def test_sized_bytes_end_within_the_object() -> None:
    assert Reader(b"\x02abc", "it").sized() == b"ab"
    with pytest.raises(ArchiveError):
        Reader(b"\x04abc", "it").sized()


def test_bytes_at_the_end_are_refused() -> None:
    reader = Reader(b"ab", "it")
    assert (reader.byte(), reader.at, reader.left) == (97, 1, 1)
    with pytest.raises(ArchiveError, match="belong to nothing"):
        reader.end()
    assert reader.rest() == b"b"
    reader.end()


@pytest.mark.parametrize("kind", list(ObjectKind))
def test_a_header_is_read_by_its_own_kind_only(kind: ObjectKind) -> None:
    Reader(header(kind), "it").header(kind)
    for other in set(ObjectKind) - {kind}:
        with pytest.raises(ArchiveError, match="does not start as"):
            Reader(header(kind), "it").header(other)


@pytest.mark.parametrize("raw", [b"", b"sync", b"syncX" + b"P\x01\x00", b"syncdP\x01\x01"])
def test_a_damaged_header_is_refused(raw: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        Reader(raw, "it").header(ObjectKind.PACK)
    assert not isinstance(caught.value, FormatVersionError)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_told_from_damage(version: int) -> None:
    with pytest.raises(FormatVersionError, match="upgrade syncd"):
        Reader(b"syncdP" + bytes((version, 0)), "it").header(ObjectKind.PACK)


@pytest.mark.parametrize("value", [-1, 253_402_300_800_000])
def test_a_time_that_rfc_3339_cannot_spell_is_refused(value: int) -> None:
    check_ms(0)
    check_ms(253_402_300_799_999)
    with pytest.raises(ValueError, match="no time"):
        check_ms(value)
