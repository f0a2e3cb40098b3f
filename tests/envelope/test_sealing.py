import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.envelope.epoch import (
    EpochKey,
    Kind,
    WrappedSecret,
    delta_label,
    digest_label,
    pack_label,
    seal,
    unseal,
    unwrap_secret,
    wrap_secret,
)
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.errors import ArchiveError, IdentityError
from syncd.model import Digest
from tests.envelope import cobblestone
from tests.support.damage import flipped

KEY = EpochKey("chat", "01ARZ3NDEKTSV4RRFFQ69G5FAV", 2, b"s" * 32)


@settings(deadline=None)
@given(st.sampled_from(Kind), st.binary(max_size=60), st.binary(max_size=40_000))
def test_sealed_bytes_open(kind: Kind, label: bytes, plaintext: bytes) -> None:
    sealed = seal(KEY, kind, label, plaintext)
    assert unseal(KEY, kind, label, sealed, what="it") == plaintext
    assert len(sealed) == len(plaintext) + 56 + 16 * (len(plaintext) // 16384 + 1)


def test_the_same_plaintext_is_sealed_differently_each_time() -> None:
    assert seal(KEY, Kind.PACK, b"", b"x") != seal(KEY, Kind.PACK, b"", b"x")


@pytest.mark.parametrize(
    ("key", "kind", "label"),
    [
        (EpochKey("chaT", KEY.generation, KEY.number, KEY.secret), Kind.DELTA, b"label"),
        (EpochKey(KEY.database, "0" * 26, KEY.number, KEY.secret), Kind.DELTA, b"label"),
        (EpochKey(KEY.database, KEY.generation, 3, KEY.secret), Kind.DELTA, b"label"),
        (EpochKey(KEY.database, KEY.generation, KEY.number, b"t" * 32), Kind.DELTA, b"label"),
        (KEY, Kind.PACK, b"label"),
        (KEY, Kind.DELTA, b"Label"),
        (KEY, Kind.DELTA, b""),
        # What moves from one part to the next does not spell the same context.
        (EpochKey("chat0", KEY.generation[1:], KEY.number, KEY.secret), Kind.DELTA, b"label"),
    ],
)
def test_sealed_bytes_open_nowhere_else(key: EpochKey, kind: Kind, label: bytes) -> None:
    sealed = seal(KEY, Kind.DELTA, b"label", b"plaintext")
    with pytest.raises(ArchiveError, match="delta 7 does not open"):
        unseal(key, kind, label, sealed, what="delta 7")


def test_no_damage_opens() -> None:
    sealed = seal(KEY, Kind.DELTA, b"label", b"plaintext")
    for at in range(len(sealed)):
        for damaged in (sealed[:at], flipped(sealed, at)):
            with pytest.raises(ArchiveError):
                unseal(KEY, Kind.DELTA, b"label", damaged, what="it")
    with pytest.raises(ArchiveError):
        unseal(KEY, Kind.DELTA, b"label", sealed + b"\0", what="it")


def test_chunks_cannot_be_cut_swapped_or_repeated() -> None:
    plaintext = bytes(40_000)
    sealed = seal(KEY, Kind.PACK, b"", plaintext)
    head, chunk = 56, 16384 + 16
    first, second, last = (
        sealed[head : head + chunk],
        sealed[head + chunk : head + 2 * chunk],
        sealed[head + 2 * chunk :],
    )
    for chunks in (
        (first,),
        (first, second),
        (second, first, last),
        (first, first, second, last),
        (first, last),
    ):
        with pytest.raises(ArchiveError):
            unseal(KEY, Kind.PACK, b"", sealed[:head] + b"".join(chunks), what="it")


@settings(deadline=None)
@given(
    st.sampled_from(Kind),
    st.binary(max_size=60),
    st.binary(max_size=40_000),
    st.binary(min_size=24, max_size=24),
)
def test_a_second_implementation_from_the_specification_agrees(
    kind: Kind, label: bytes, plaintext: bytes, salt: bytes
) -> None:
    key, context = cobblestone.key_and_context(b"s" * 32, "chat", KEY.generation, 2, kind.value, label)
    sealed = cobblestone.seal(key, context, plaintext, salt)
    assert unseal(KEY, kind, label, sealed, what="it") == plaintext
    ours = seal(KEY, kind, label, plaintext)
    assert cobblestone.seal(key, context, plaintext, ours[:24]) == ours


def test_labels_have_one_meaning() -> None:
    assert delta_label(7, Digest(1)) == bytes(7) + b"\x07" + bytes(31) + b"\x01"
    assert pack_label(b"p" * 16) == b"p" * 16
    assert digest_label(7, b"body")[:8] == bytes(7) + b"\x07"
    assert digest_label(7, b"body") != digest_label(7, b"bodY")


def test_a_secret_is_overwritten_when_the_last_who_uses_it_lets_go() -> None:
    key = EpochKey.generate("chat", KEY.generation, 2)
    secret, in_flight = key.secret, [key]
    assert isinstance(secret, bytearray)
    assert any(secret)
    del key
    sealed = seal(in_flight[0], Kind.PACK, b"", b"begun before")
    assert unseal(in_flight[0], Kind.PACK, b"", sealed, what="it") == b"begun before"
    in_flight.clear()
    assert secret == bytes(32)


def test_an_epoch_key_has_its_secret_to_itself() -> None:
    given = bytearray(b"s" * 32)
    first, second = EpochKey("chat", KEY.generation, 2, given), EpochKey("chat", KEY.generation, 2, given)
    assert first == second
    del first
    assert second.secret == given == b"s" * 32


def test_what_is_no_secret_makes_no_key() -> None:
    with pytest.raises(TypeError):
        EpochKey("chat", KEY.generation, 2, "text")  # type: ignore[arg-type]


def test_an_epoch_key_is_not_copied() -> None:
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="not copied"):
            copied(KEY)


def test_a_source_of_random_numbers_that_ends_gives_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "short").write_bytes(b"x" * 31)
    opened_path = Path.open
    monkeypatch.setattr(Path, "open", lambda _, *args, **kw: opened_path(tmp_path / "short", *args, **kw))
    with pytest.raises(OSError, match="ended"):
        EpochKey.generate("chat", KEY.generation, 2)


def test_an_epoch_key_shows_no_secret() -> None:
    key = EpochKey.generate("chat", KEY.generation, 2)
    assert len(key.secret) == 32
    assert key != EpochKey.generate("chat", KEY.generation, 2)
    assert "secret" not in repr(key)
    assert repr(KEY.secret)[2:-1] not in repr(KEY)


def opened(wraps: list[WrappedSecret], identity: Identity) -> EpochKey:
    return unwrap_secret("chat", KEY.generation, 2, wraps, identity, what="epoch 2")


def test_each_recipient_opens_its_wrap() -> None:
    identities = [Identity.generate(), Identity.generate(Kem.X25519), Identity.generate()]
    wraps = wrap_secret(KEY, [identity.recipient for identity in identities])
    for identity in identities:
        assert opened(wraps, identity) == KEY


def test_a_stranger_is_told_whose_it_is() -> None:
    recipient = Identity.generate(Kem.X25519).recipient
    wraps = [*wrap_secret(KEY, [recipient]), WrappedSecret(200, b"f" * 16, b"future")]
    with pytest.raises(IdentityError) as caught:
        opened(wraps, Identity.generate())
    assert recipient.fingerprint.hex() in caught.value.hint
    assert f"kind 200 {(b'f' * 16).hex()}" in caught.value.hint


def test_a_damaged_wrap_is_not_mistaken_for_a_stranger() -> None:
    identity = Identity.generate(Kem.X25519)
    (wrap,) = wrap_secret(KEY, [identity.recipient])
    for ciphertext in (b"", wrap.ciphertext[:-1], wrap.ciphertext[:-1] + b"\0\0"):
        with pytest.raises(ArchiveError, match="damaged or forged"):
            opened([WrappedSecret(wrap.kem, wrap.recipient, ciphertext)], identity)


def test_a_secret_of_the_wrong_size_is_refused() -> None:
    identity = Identity.generate(Kem.X25519)
    wraps = wrap_secret(EpochKey("chat", KEY.generation, 2, b"short"), [identity.recipient])
    with pytest.raises(ArchiveError, match="damaged or forged"):
        opened(wraps, identity)


def test_a_wrap_opens_in_its_own_epoch_only() -> None:
    identity = Identity.generate(Kem.X25519)
    wraps = wrap_secret(KEY, [identity.recipient])
    for database, generation, number in (
        ("chaT", KEY.generation, 2),
        ("chat", "0" * 26, 2),
        ("chat", KEY.generation, 3),
    ):
        with pytest.raises(ArchiveError):
            unwrap_secret(database, generation, number, wraps, identity, what="it")
