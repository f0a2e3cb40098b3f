"""Heartbeats: every one comes back, nothing else is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.archive import read_heartbeat, sign_heartbeat
from syncd.envelope.keys import SigningKey
from syncd.errors import ArchiveError, FormatVersionError
from syncd.format.heartbeat import Heartbeat, decode_heartbeat, encode_heartbeat_body
from syncd.format.names import MAX_SEQ
from syncd.format.wire import MAX_MS
from tests.format.support import GENERATION, flips, truncations

SIGNING = SigningKey.generate()
BEAT = Heartbeat("chat", GENERATION, 700, 1_790_000_000_000)
RAW = sign_heartbeat(SIGNING, BEAT)


def read(raw: bytes, database: str = "chat") -> Heartbeat:
    return read_heartbeat(raw, name="heartbeats/x", database=database, verify_key=SIGNING.verify_key)


@given(st.integers(0, MAX_SEQ), st.integers(0, MAX_MS))
def test_a_heartbeat_comes_back(seq: int, time_ms: int) -> None:
    beat = Heartbeat("chat", GENERATION, seq, time_ms)
    body = encode_heartbeat_body(beat)
    assert decode_heartbeat(body + bytes(64)) == (beat, body, bytes(64))


def test_no_damage_is_read() -> None:
    assert read(RAW) == BEAT
    for raw in [*truncations(RAW), *(raw for _, raw in flips(RAW)), RAW + b"\0"]:
        with pytest.raises(ArchiveError, match=r"heartbeats/x: "):
            read(raw)
    with pytest.raises(FormatVersionError):
        read(RAW[:6] + b"\2" + RAW[7:])


def test_another_database_or_daemon() -> None:
    with pytest.raises(ArchiveError, match="its database is chat, not other"):
        read(RAW, "other")
    with pytest.raises(ArchiveError, match="signature of the heartbeat is wrong"):
        read(sign_heartbeat(SigningKey.generate(), BEAT))


@pytest.mark.parametrize("change", [{"seq": -1}, {"seq": MAX_SEQ + 1}, {"time_ms": -1}, {"database": "/"}])
def test_an_invalid_one_cannot_be_made(change: dict[str, int]) -> None:
    fields: dict[str, object] = {"database": "chat", "generation": GENERATION, "seq": 1, "time_ms": 1}
    with pytest.raises(ValueError, match=r"no (sequence|time|name)"):
        Heartbeat(**(fields | change))  # type: ignore[arg-type]
