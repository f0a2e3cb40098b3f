import re

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.envelope.kem import Kem, unwrap, wrap
from syncd.envelope.keys import Identity, Recipient, SigningKey, VerifyKey, is_secret
from syncd.envelope.spelling import spell, unspell
from syncd.errors import ArchiveError, IdentityError
from tests.support.damage import flipped

DOMAIN = b"test\0"
HPKE = (Kem.X25519, Kem.MLKEM768_X25519)


@pytest.fixture
def no_mlkem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedAlgorithm("not on this backend")

    monkeypatch.setattr(MLKEM768PrivateKey, "generate", refuse)
    monkeypatch.setattr(MLKEM768PrivateKey, "from_seed_bytes", refuse)
    monkeypatch.setattr(MLKEM768PublicKey, "from_public_bytes", refuse)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_a_spelling_comes_back_however_it_was_wrapped(payload: bytes) -> None:
    text = spell("verify", payload)
    assert unspell("verify", text) == payload
    assert unspell("verify", "\r\n  ".join(re.findall(".{1,7}", text)) + "\n") == payload


def test_every_typing_error_is_noticed_and_not_repeated_in_the_message() -> None:
    text = spell("signing", b"secret bytes of a key")
    prefix = len("syncd-signing-")
    for at in range(len(text)):
        for letter in "A-_z=é ":
            typed = text[:at] + letter + text[at + 1 :]
            if typed == text:
                continue
            with pytest.raises(IdentityError) as caught:
                unspell("signing", typed)
            assert text[prefix : prefix + 8] not in str(caught.value)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_key_that_is_cut_off_is_noticed(cut: int) -> None:
    with pytest.raises(IdentityError, match="mistyped or cut off"):
        unspell("verify", spell("verify", b"payload")[:-cut])


def test_keys_come_back() -> None:
    signing = SigningKey.generate()
    assert SigningKey.parse(signing.to_text()) == signing
    assert VerifyKey.parse(signing.verify_key.to_text()) == signing.verify_key
    assert signing.to_text().startswith("syncd-signing-")
    assert signing.verify_key.to_text().startswith("syncd-verify-")


@pytest.mark.parametrize("kem", HPKE)
def test_identities_and_recipients_come_back(kem: Kem) -> None:
    identity = Identity.generate(kem)
    recipient = identity.recipient
    assert identity.kem is kem
    assert Identity.from_bytes(identity.to_bytes()) == identity
    assert Recipient.parse(recipient.to_text()) == recipient
    assert recipient.to_text().startswith(f"syncd-recipient-{kem.label}-")
    assert len(recipient.fingerprint) == 16
    assert recipient.fingerprint != Identity.generate(kem).recipient.fingerprint
    assert identity.post_quantum == recipient.post_quantum == (kem is Kem.MLKEM768_X25519)


def test_only_signing_keys_are_secret_texts() -> None:
    signing, identity = SigningKey.generate(), Identity.generate()
    assert is_secret(f" {signing.to_text()}")
    assert not is_secret(signing.verify_key.to_text())
    assert not is_secret(identity.recipient.to_text())


def test_no_repr_shows_a_secret() -> None:
    signing, identity = SigningKey(b"S" * 32), Identity.generate()
    for secret, shown in ((signing.private, repr(signing)), (identity.private, repr(identity))):
        assert "SSSS" not in shown
        assert repr(secret) not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("text", ["", "chat", "syncd-verify-x", "syncd-recipient-dsa-AAAA"])
def test_what_is_no_recipient_is_refused_with_the_known_kinds(text: str) -> None:
    with pytest.raises(IdentityError, match="x25519, mlkem768x25519, rsa"):
        Recipient.parse(text)


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(IdentityError, match="another kind"):
        VerifyKey.parse(SigningKey.generate().to_text())


def test_a_key_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(IdentityError, match="has 32 bytes, not 31"):
        VerifyKey.parse(spell("verify", bytes(31)))
    with pytest.raises(IdentityError, match="has 32 bytes, not 33"):
        Recipient.parse(spell("recipient-x25519", bytes(33)))


@pytest.mark.parametrize("raw", [b"", b"\x01", bytes(33), b"\x01" + bytes(31), b"\x03" + bytes(32)])
def test_an_unknown_identity_is_refused(raw: bytes) -> None:
    with pytest.raises(IdentityError, match="does not know"):
        Identity.from_bytes(raw)


def test_a_signature_holds_for_its_message_domain_and_key_only() -> None:
    signing = SigningKey.generate()
    signature = signing.sign(b"message", domain=DOMAIN)
    signing.verify_key.verify(b"message", signature, domain=DOMAIN, what="it")
    other = SigningKey.generate().verify_key
    for key, message, made, domain in (
        (signing.verify_key, b"messagE", signature, DOMAIN),
        (signing.verify_key, b"message", signature, b"other\0"),
        (signing.verify_key, b"message", flipped(signature), DOMAIN),
        (signing.verify_key, b"message", b"", DOMAIN),
        (other, b"message", signature, DOMAIN),
        (VerifyKey(bytes(32)), b"message", signature, DOMAIN),
    ):
        with pytest.raises(ArchiveError, match="signature of the epoch is wrong"):
            key.verify(message, made, domain=domain, what="the epoch")


@pytest.mark.parametrize("kem", HPKE)
def test_a_wrapped_secret_opens_for_its_holder_and_context_only(kem: Kem) -> None:
    identity, other = Identity.generate(kem), Identity.generate(kem)
    wrapped = wrap(kem, identity.recipient.public, b"s" * 32, b"context")
    assert unwrap(kem, identity.private, wrapped, b"context") == b"s" * 32
    assert unwrap(kem, other.private, wrapped, b"context") is None
    assert unwrap(kem, identity.private, wrapped, b"Context") is None
    for size in (0, 1, 31, 32, 48, len(wrapped) - 1):
        assert unwrap(kem, identity.private, wrapped[:size], b"context") is None
    for at in range(0, len(wrapped), 7):
        assert unwrap(kem, identity.private, flipped(wrapped, at), b"context") is None


@pytest.mark.parametrize("kem", HPKE)
def test_a_public_key_that_is_none_is_refused(kem: Kem) -> None:
    # All zeros: a point of low order for X25519, which gives everybody the same shared secret.
    size = kem.public_bytes or 0
    for public in (bytes(size), b"\xff" * size, bytes(5)):
        try:
            wrap(kem, public, b"s" * 32, b"")
        except IdentityError as error:
            assert kem.label in error.message  # noqa: PT017  # some odd keys are accepted by the library


def test_x25519_refuses_a_point_of_low_order() -> None:
    with pytest.raises(IdentityError, match="is no x25519 key"):
        wrap(Kem.X25519, bytes(32), b"s" * 32, b"")


@pytest.mark.usefixtures("no_mlkem")
def test_without_ml_kem_an_identity_falls_back_and_says_so() -> None:
    identity = Identity.generate()
    assert identity.kem is Kem.X25519
    assert not identity.post_quantum


@pytest.mark.usefixtures("no_mlkem")
def test_without_ml_kem_what_was_asked_for_is_not_replaced() -> None:
    with pytest.raises(IdentityError, match="cannot do mlkem768x25519"):
        Identity.generate(Kem.MLKEM768_X25519)
    with pytest.raises(IdentityError, match="cannot do mlkem768x25519"):
        _ = Identity(Kem.MLKEM768_X25519, bytes(96)).recipient
    with pytest.raises(IdentityError, match="cannot do mlkem768x25519"):
        wrap(Kem.MLKEM768_X25519, bytes(1216), b"s" * 32, b"")
