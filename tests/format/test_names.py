import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format import names
from tests.format.support import GENERATION

ROOT = f"generations/{GENERATION}"


def test_every_name_has_its_directory() -> None:
    assert names.generation_dir(GENERATION) == f"{ROOT}/"
    assert names.deltas_name(GENERATION, 700) == f"{ROOT}/deltas/00000000000002bc"
    assert names.pack_name(GENERATION, bytes(range(16))) == f"{ROOT}/packs/000102030405060708090a0b0c0d0e0f"
    assert names.snapshot_name(GENERATION, names.MAX_SEQ) == f"{ROOT}/snapshots/ffffffffffffffff"
    assert names.epoch_name(GENERATION, 10) == f"{ROOT}/epochs/0000000a"
    for directory in (names.deltas_dir, names.packs_dir, names.snapshots_dir, names.epochs_dir):
        assert directory(GENERATION).startswith(f"{ROOT}/")
        assert directory(GENERATION).endswith("/")


@settings(deadline=None)
@given(st.integers(0, names.MAX_SEQ), st.integers(0, names.MAX_EPOCH), st.binary(min_size=16, max_size=16))
def test_names_come_back(seq: int, epoch: int, pack_id: bytes) -> None:
    assert names.parse_seq(names.deltas_name(GENERATION, seq)) == seq
    assert names.parse_seq(names.snapshot_name(GENERATION, seq)) == seq
    assert names.parse_epoch(names.epoch_name(GENERATION, epoch)) == epoch
    assert names.parse_pack_id(names.pack_name(GENERATION, pack_id)) == pack_id


@settings(deadline=None)
@given(st.integers(0, names.MAX_SEQ), st.integers(0, names.MAX_SEQ))
def test_the_order_of_names_is_the_order_of_numbers(one: int, other: int) -> None:
    as_names = names.deltas_name(GENERATION, one), names.deltas_name(GENERATION, other)
    assert (as_names[0] < as_names[1]) == (one < other)


@pytest.mark.parametrize(
    "last",
    ["", "00000000000002BC", "0000000000002bc", "000000000000002bc", "00000000000002b_", "+0000000000002bc",
     "00000000000002b\n", "00000000000002b\uff11"],
)  # fmt: skip
def test_a_sequence_number_has_one_spelling(last: str) -> None:
    with pytest.raises(ArchiveError, match="16 lower-case hex digits"):
        names.parse_seq(f"{ROOT}/deltas/{last}")


def test_ids_and_epochs_have_one_spelling() -> None:
    with pytest.raises(ArchiveError):
        names.parse_pack_id("0" * 31)
    with pytest.raises(ArchiveError):
        names.parse_epoch("0" * 9)


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_a_generation_comes_back(raw: bytes) -> None:
    text = names.generation_text(raw)
    assert names.generation_bytes(text) == raw
    assert names.parse_generation(f"generations/{text}/") == text
    assert names.parse_generation(text) == text


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, GENERATION.lower(), "8" + "0" * 25, "I" * 26, "../" + "0" * 23]
)
def test_what_is_no_ulid_is_no_generation(text: str) -> None:
    with pytest.raises(ValueError, match="no generation"):
        names.generation_bytes(text)
    with pytest.raises(ArchiveError, match="not the directory"):
        names.parse_generation(text)


@pytest.mark.parametrize("name", ["chat", "a", "0", "Chat.v2_x-y", "a" * 64])
def test_a_database_may_be_called(name: str) -> None:
    assert names.check_database(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "a\n", "ü", "a" * 65])
def test_a_database_may_not_be_called(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a database"):
        names.check_database(name)


@pytest.mark.parametrize("seq", [-1, names.MAX_SEQ + 1])
def test_numbers_that_do_not_fit_are_not_written(seq: int) -> None:
    with pytest.raises(ValueError, match="16 hex digits"):
        names.deltas_name(GENERATION, seq)
    with pytest.raises(ValueError, match="8 hex digits"):
        names.epoch_name(GENERATION, seq)


def test_a_pack_id_has_16_bytes() -> None:
    with pytest.raises(ValueError, match="not 15"):
        names.pack_name(GENERATION, bytes(15))


def test_marks_have_names() -> None:
    assert names.hold_name(GENERATION) == f"holds/{GENERATION}"
    assert names.lease_name(GENERATION) == f"leases/{GENERATION}"
    assert names.tombstone_name(GENERATION) == f"tombstones/{GENERATION}"
    assert names.parse_mark(f"holds/{GENERATION}") == GENERATION
    with pytest.raises(ArchiveError, match="ULID"):
        names.parse_mark(f"holds/{GENERATION.lower()}")
    with pytest.raises(ValueError, match="no generation"):
        names.hold_name("x")


def test_a_generation_tells_when_it_began() -> None:
    assert names.generation_ms("7ZZZZZZZZZZZZZZZZZZZZZZZZZ") == (1 << 48) - 1
    assert names.generation_ms(GENERATION) == 1_469_922_850_259  # the time in the ULID of the specification


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (names.deltas_name(GENERATION, 7), True),
        (names.snapshot_name(GENERATION, 7), True),
        (names.pack_name(GENERATION, bytes(16)), True),
        (names.epoch_name(GENERATION, 7), True),
        (names.hold_name(GENERATION), False),
        (names.deltas_name(GENERATION, 7) + "\n", False),
        (names.pack_name(GENERATION, bytes(16)).replace("packs", "deltas"), False),
        (names.epoch_name(GENERATION, 7).lower(), False),
        ("", False),
    ],
)
def test_what_is_an_object_of_a_generation(name: str, expected: bool) -> None:
    assert names.is_object(name) is expected


def test_heartbeats_have_names_like_other_marks() -> None:
    name = names.heartbeat_name(GENERATION)
    assert name == f"heartbeats/{GENERATION}"
    assert names.parse_mark(name) == GENERATION
    with pytest.raises(ValueError, match="is no generation"):
        names.heartbeat_name("x")


def test_claims_are_numbered() -> None:
    assert names.claim_name(26) == "claims/0000001a"
    assert names.parse_claim("claims/0000001a") == 26
    assert names.is_claim("claims/0000001a")
    assert not any(
        map(names.is_claim, ("claims/1a", "claims/0000001A", "x/claims/0000001a", "claims/0000001a/"))
    )
    with pytest.raises(ValueError, match="does not fit"):
        names.claim_name(names.MAX_CLAIM + 1)
    with pytest.raises(ArchiveError, match="8 lower-case hex digits"):
        names.parse_claim("claims/1")


@pytest.mark.parametrize("text", ["", "x", "01arz3ndektsv4rrffq69g5fav", "81ARZ3NDEKTSV4RRFFQ69G5FAV"])
def test_what_is_no_generation(text: str) -> None:
    assert names.is_generation(GENERATION)
    assert not names.is_generation(text)
