"""Claims: every one comes back, nothing else is one."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.archive import read_claim, sign_claim
from syncd.envelope.keys import SigningKey
from syncd.errors import ArchiveError, FormatVersionError
from syncd.format.claim import MAX_CLAIM_BYTES, Act, Claim, decode_claim, encode_claim_body
from syncd.format.names import MAX_CLAIM
from syncd.format.wire import MAX_MS
from tests.format.support import GENERATION, flips, truncations

SIGNING = SigningKey.generate()
CLAIM = Claim("chat", 7, Act.TAKE_OVER, GENERATION, bytes(range(16)), "caf\u00e9", 1_790_000_000_000)
RAW = sign_claim(SIGNING, CLAIM)


def read(raw: bytes, database: str = "chat", number: int = 7) -> Claim:
    return read_claim(raw, number=number, database=database, verify_key=SIGNING.verify_key)


@given(
    st.integers(1, MAX_CLAIM),
    st.sampled_from(Act),
    st.binary(min_size=16, max_size=16),
    st.integers(0, MAX_MS),
)
def test_a_claim_comes_back(number: int, act: Act, daemon: bytes, time_ms: int) -> None:
    claim = Claim("chat", number, act, GENERATION, daemon, "", time_ms)
    body = encode_claim_body(claim)
    assert decode_claim(body + bytes(64)) == (claim, body, bytes(64))


def test_the_largest_is_small() -> None:
    largest = Claim("x" * 64, MAX_CLAIM, Act.BEGIN, GENERATION, bytes(16), "y" * 255, MAX_MS)
    assert len(sign_claim(SIGNING, largest)) <= MAX_CLAIM_BYTES


def test_no_damage_is_read() -> None:
    assert read(RAW) == CLAIM
    longer = RAW + bytes(2 * MAX_CLAIM_BYTES)
    for raw in [*truncations(RAW), *(raw for _, raw in flips(RAW)), RAW + b"\0", longer]:
        with pytest.raises(ArchiveError, match=r"claims/00000007: "):
            read(raw)
    with pytest.raises(FormatVersionError):
        read(RAW[:6] + b"\2" + RAW[7:])


def test_another_database_number_or_daemon() -> None:
    with pytest.raises(ArchiveError, match="its database is chat, not other"):
        read(RAW, "other")
    with pytest.raises(ArchiveError, match="its number is 7, not 8"):
        read(RAW, number=8)
    with pytest.raises(ArchiveError, match="signature of the claim is wrong"):
        read(sign_claim(SigningKey.generate(), CLAIM))


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"number": MAX_CLAIM + 1},
        {"daemon": bytes(15)},
        {"host": "two\nlines"},
        {"host": "x" * 256},
        {"time_ms": -1},
        {"database": "/"},
        {"generation": "x"},
    ],
)
def test_an_invalid_one_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no (number|time|name|generation)|printable|a daemon is"):
        dataclasses.replace(CLAIM, **change)  # type: ignore[arg-type]
