from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.errors import ArchiveError
from syncd.format import epoch as module
from syncd.format.epoch import EpochObject, Wrap, decode_epoch, encode_epoch, encode_epoch_body
from tests.format.support import EPOCH, GENERATION, flips, truncations

fingerprints = st.binary(min_size=16, max_size=16)


@settings(deadline=None)
@given(
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 253_402_300_799_999),
    st.dictionaries(
        fingerprints, st.tuples(st.integers(1, 255), st.binary(max_size=100)), min_size=1, max_size=5
    ),
    st.binary(min_size=64, max_size=64),
)
def test_an_epoch_comes_back(
    number: int, created_ms: int, wraps: dict[bytes, tuple[int, bytes]], signature: bytes
) -> None:
    epoch = EpochObject(
        database="chat",
        generation=GENERATION,
        number=number,
        created_ms=created_ms,
        wraps=tuple(Wrap(kem, recipient, text) for recipient, (kem, text) in wraps.items()),
        signature=signature,
    )
    assert decode_epoch(encode_epoch(epoch)) == (epoch, encode_epoch_body(epoch))


def test_every_truncation_is_refused() -> None:
    for raw in truncations(encode_epoch(EPOCH)):
        with pytest.raises(ArchiveError):
            decode_epoch(raw)


def test_what_is_read_from_damaged_bytes_spells_the_same_bytes() -> None:
    for _, raw in flips(encode_epoch(EPOCH)):
        try:
            epoch, signed = decode_epoch(raw)
        except ArchiveError:
            continue
        assert encode_epoch(epoch) == raw
        assert signed == raw[:-64]


def test_bytes_behind_an_epoch_are_refused() -> None:
    with pytest.raises(ArchiveError, match="belong to nothing"):
        decode_epoch(encode_epoch(EPOCH) + b"\0")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"database": ""}, "no name of a database"),
        ({"generation": GENERATION.lower()}, "no generation"),
        ({"number": -1}, "no epoch"),
        ({"number": 1 << 32}, "no epoch"),
        ({"created_ms": -1}, "no time"),
        ({"wraps": ()}, "no recipient"),
        ({"wraps": (EPOCH.wraps[0], EPOCH.wraps[0])}, "twice"),
        ({"signature": b"x"}, "not 1"),
    ],
)
def test_an_invalid_epoch_cannot_be_made(change: dict[str, object], reason: str) -> None:
    fields = {name: getattr(EPOCH, name) for name in EpochObject.__slots__}
    with pytest.raises(ValueError, match=reason):
        EpochObject(**{**fields, **change})


@pytest.mark.parametrize(("kem", "recipient"), [(0, bytes(16)), (256, bytes(16)), (1, bytes(15))])
def test_an_invalid_wrap_cannot_be_made(kem: int, recipient: bytes) -> None:
    with pytest.raises(ValueError, match=r"KEM|fingerprint"):
        Wrap(kem, recipient, b"")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("database", "a/b", "no name of a database"),
        ("number", 1 << 32, "no epoch"),
        ("wraps", (), "no recipient"),
        ("wraps", (EPOCH.wraps[0], EPOCH.wraps[0]), "twice"),
    ],
)
def test_an_invalid_epoch_is_refused_when_read(field: str, value: object, reason: str) -> None:
    broken = replace(EPOCH)
    object.__setattr__(broken, field, value)
    with pytest.raises(ArchiveError, match=reason):
        decode_epoch(encode_epoch(broken))


def test_an_epoch_without_signature_is_not_written() -> None:
    with pytest.raises(ValueError, match="not signed"):
        encode_epoch(replace(EPOCH, signature=b""))


def test_an_epoch_has_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encode_epoch(EPOCH)
    monkeypatch.setattr(module, "MAX_EPOCH_BYTES", len(raw) - 1)
    with pytest.raises(ValueError, match="more than"):
        encode_epoch(EPOCH)
    with pytest.raises(ArchiveError, match="more than"):
        decode_epoch(raw)
