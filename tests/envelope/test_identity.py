import hashlib
import unicodedata

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from syncd.envelope import identity as module
from syncd.envelope.identity import Argon2Params, check_protected, protect, unprotect
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.errors import ArchiveError, FormatVersionError, IdentityError
from tests.support.damage import flipped

CHEAP = Argon2Params(memory_kib=32, iterations=1, lanes=1)
IDENTITY = Identity.generate(Kem.X25519)
PROTECTED = protect(IDENTITY, "correct horse", CHEAP)


def resummed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()[:4]


@pytest.mark.parametrize("kem", [Kem.X25519, Kem.MLKEM768_X25519])
def test_an_identity_comes_back(kem: Kem) -> None:
    identity = Identity.generate(kem)
    assert unprotect(protect(identity, "pass", CHEAP), "pass") == identity


def test_the_defaults_are_those_written_down() -> None:
    raw = protect(IDENTITY, "pass")
    assert check_protected(raw) == Argon2Params(memory_kib=65536, iterations=3, lanes=4)
    assert unprotect(raw, "pass") == IDENTITY


@pytest.mark.parametrize("passphrase", ["correct hors", "Correct horse", "correct horse ", "x"])
def test_another_passphrase_is_wrong(passphrase: str) -> None:
    with pytest.raises(IdentityError, match="passphrase does not open"):
        unprotect(PROTECTED, passphrase)


def test_a_passphrase_may_be_typed_on_another_keyboard() -> None:
    raw = protect(IDENTITY, unicodedata.normalize("NFC", "Übermüt"), CHEAP)
    assert unprotect(raw, unicodedata.normalize("NFD", "Übermüt")) == IDENTITY


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(IdentityError, match="empty"):
        protect(IDENTITY, "", CHEAP)
    with pytest.raises(IdentityError, match="empty"):
        unprotect(PROTECTED, "")


def test_damage_is_told_from_a_wrong_passphrase() -> None:
    for at in range(len(PROTECTED)):
        for raw in (flipped(PROTECTED, at), PROTECTED[:at]):
            with pytest.raises(IdentityError, match="damaged"):
                unprotect(raw, "correct horse")
    with pytest.raises(IdentityError, match="damaged"):
        unprotect(PROTECTED + bytes(100_000), "correct horse")


def test_a_forged_head_does_not_open() -> None:
    # The forger mends the checksum: the head is bound by the seal all the same.
    body = PROTECTED[:-4]
    for at in (11, 15, 16, 20, 40, len(body) - 1):
        raw = resummed(flipped(body, at, 2))
        with pytest.raises(IdentityError, match=r"passphrase|damaged"):
            unprotect(raw, "correct horse")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (8, b"\xff\xff\xff\xff"),
        (8, b"\x00\x10\x00\x01"),
        (8, b"\x00\x00\x00\x07"),
        (12, b"\x00\x00\x00\x00"),
        (12, b"\x00\x00\x00\x41"),
        (16, b"\x00"),
        (16, b"\x41"),
    ],
)
def test_hostile_parameters_are_refused_before_memory_is_taken(at: int, value: bytes) -> None:
    raw = resummed(PROTECTED[:at] + value + PROTECTED[at + len(value) : -4])
    with pytest.raises(IdentityError, match="are not within"):
        unprotect(raw, "correct horse")


@pytest.mark.parametrize("head", [b"\x02\x00", b"\x00\x00", b"\x01\x01"])
def test_a_newer_version_is_told_from_damage(head: bytes) -> None:
    with pytest.raises(FormatVersionError, match="upgrade"):
        unprotect(resummed(PROTECTED[:6] + head + PROTECTED[8:-4]), "correct horse")


def test_the_salt_is_new_each_time() -> None:
    assert protect(IDENTITY, "pass", CHEAP)[17:33] != protect(IDENTITY, "pass", CHEAP)[17:33]


def test_a_machine_without_argon2_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise UnsupportedAlgorithm("not on this backend")

    monkeypatch.setattr(module, "Argon2id", refuse)
    with pytest.raises(IdentityError, match="cannot do Argon2id"):
        protect(IDENTITY, "pass", CHEAP)


def test_an_identity_error_is_not_an_archive_error() -> None:
    assert not issubclass(IdentityError, ArchiveError)
