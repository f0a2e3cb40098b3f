"""RSA recipients: the golden files are a throw-away key, what was wrapped for it, and its spelling."""

import datetime as dt
import hashlib
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.envelope import pem
from syncd.envelope.epoch import EpochKey, unwrap_secret, wrap_secret
from syncd.envelope.kem import Kem, unwrap, wrap
from syncd.envelope.keys import Identity, Recipient
from syncd.envelope.pem import HsmIdentity
from syncd.envelope.spelling import spell
from syncd.errors import ArchiveError, IdentityError
from tests.support.damage import flipped

GOLDEN: Final = Path(__file__).parent / "golden"
PEM: Final = (GOLDEN / "rsa.pem").read_bytes()
IDENTITY: Final = pem.read_private(PEM, None)
WRAPPED: Final = bytes.fromhex((GOLDEN / "rsa-wrapped.hex").read_text())
CONTEXT: Final = b"syncd golden context"
KEY: Final = EpochKey("chat", "01ARZ3NDEKTSV4RRFFQ69G5FAV", 2, b"s" * 32)
OTHER: Final = rsa.generate_private_key(65537, 3072)


def private_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes = b"") -> bytes:
    how: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def public_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_of_pem() -> rsa.RSAPrivateKey:
    key = load_pem_private_key(PEM, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def certificate(key: rsa.RSAPrivateKey, until: dt.datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keys of the board")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(until - dt.timedelta(days=365)).not_valid_after(until)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_the_golden_wrap_opens_and_the_golden_spelling_is_kept() -> None:
    text, fingerprint = (GOLDEN / "rsa-recipient.txt").read_text().split()
    assert unwrap(Kem.RSA, IDENTITY.private, WRAPPED, CONTEXT) == bytes(range(32))
    assert IDENTITY.recipient.to_text() == text
    assert IDENTITY.recipient.fingerprint.hex() == fingerprint
    assert Recipient.parse(text) == IDENTITY.recipient
    assert not IDENTITY.recipient.post_quantum


def test_a_wrap_is_plain_oaep_of_secret_and_hash_of_the_context() -> None:
    wrapped = wrap(Kem.RSA, IDENTITY.recipient.public, b"s" * 32, CONTEXT)
    oaep = OAEP(MGF1(SHA256()), SHA256(), None)
    assert key_of_pem().decrypt(wrapped, oaep) == b"s" * 32 + hashlib.sha256(CONTEXT).digest()


@settings(deadline=None, max_examples=20)
@given(st.binary(max_size=64), st.binary(max_size=64), st.integers(0, 383), st.integers(1, 255))
def test_a_wrap_opens_for_its_context_only_and_undamaged(
    plaintext: bytes, info: bytes, at: int, flip: int
) -> None:
    wrapped = wrap(Kem.RSA, IDENTITY.recipient.public, plaintext, info)
    assert IDENTITY.unwrap(wrapped, info) == plaintext
    assert IDENTITY.unwrap(wrapped, info + b"x") is None
    assert IDENTITY.unwrap(wrapped[:at], info) is None
    assert IDENTITY.unwrap(flipped(wrapped, at, flip), info) is None


def test_another_key_opens_nothing() -> None:
    assert pem.read_private(private_pem(OTHER), None).unwrap(WRAPPED, CONTEXT) is None


def test_an_epoch_is_wrapped_for_all_kinds_at_once() -> None:
    identities = [IDENTITY, Identity.generate(), Identity.generate(Kem.X25519)]
    wraps = wrap_secret(KEY, [identity.recipient for identity in identities])
    for identity in identities:
        assert unwrap_secret("chat", KEY.generation, 2, wraps, identity, what="it") == KEY
    with pytest.raises(ArchiveError, match="damaged or forged"):
        unwrap_secret("chat", KEY.generation, 3, wraps, IDENTITY, what="it")


def test_a_key_in_an_hsm_opens_what_a_file_opens() -> None:
    asked: list[bytes] = []

    def decrypt(ciphertext: bytes) -> bytes:
        asked.append(ciphertext)
        return key_of_pem().decrypt(ciphertext, OAEP(MGF1(SHA256()), SHA256(), None))

    hsm = HsmIdentity(public=IDENTITY.recipient, decrypt=decrypt)
    wraps = wrap_secret(KEY, [Identity.generate(Kem.X25519).recipient, hsm.recipient])
    assert unwrap_secret("chat", KEY.generation, 2, wraps, hsm, what="it") == KEY
    assert asked == [wraps[1].ciphertext], "the HSM is asked for what is its own"
    assert hsm.unwrap(b"damaged", CONTEXT) is None
    assert hsm.unwrap(WRAPPED, b"another context") is None


@pytest.mark.parametrize("answer", [b"", b"short", b"s" * 31])
def test_what_an_hsm_says_is_not_believed(answer: bytes) -> None:
    hsm = HsmIdentity(public=IDENTITY.recipient, decrypt=lambda _: answer)
    assert hsm.unwrap(WRAPPED, CONTEXT) is None


def test_a_public_key_and_a_certificate_name_the_same_recipient() -> None:
    until = dt.datetime(2020, 2, 29, tzinfo=dt.UTC)
    read = pem.read_public(certificate(OTHER, until))
    assert read.until_ms == round(until.timestamp() * 1000)
    assert pem.read_public(public_pem(OTHER)) == pem.PublicPem(read.recipient, None)
    assert read.recipient == pem.read_private(private_pem(OTHER), None).recipient


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (PEM, "private key, which does not belong"),
        (private_pem(OTHER, b"pass"), "private key, which does not belong"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key or certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no public key or certificate"),
        (b"", "no public key or certificate"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "it is no RSA key"),
        (public_pem(rsa.generate_private_key(65537, 2048)), "it has 2048 bits"),
        (public_pem(rsa.generate_private_key(3, 3072)), "exponent is not 65537"),
    ],
)
def test_what_is_no_recipient_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        pem.read_public(raw)


def test_a_private_key_comes_back_with_its_passphrase_only() -> None:
    raw = private_pem(OTHER, b"p\xc3\xa4ss")
    assert pem.is_encrypted(raw)
    assert pem.read_private(raw, "päss") == pem.read_private(private_pem(OTHER), None)
    for passphrase, reason in ((None, "needs a passphrase"), ("wrong", "does not open")):
        with pytest.raises(IdentityError, match=reason):
            pem.read_private(raw, passphrase)
    with pytest.raises(IdentityError, match="has no passphrase"):
        pem.read_private(PEM, "one")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (private_pem(ed25519.Ed25519PrivateKey.generate()), "not an RSA key"),
        (private_pem(rsa.generate_private_key(65537, 2048)), "it has 2048 bits"),
    ],
)
def test_what_is_no_identity_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        pem.read_private(raw, None)


def test_a_spelled_recipient_is_checked() -> None:
    pkcs1 = OTHER.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    for raw, reason in (
        (b"", "cannot be read"),
        (IDENTITY.recipient.public[:-1], "cannot be read"),
        (pkcs1, "spelled in an unusual way"),
        (ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw(), "cannot be read"),
    ):
        with pytest.raises(IdentityError, match=reason):
            Recipient.parse(spell("recipient-rsa", raw))


def test_pem_files_are_told_from_kits() -> None:
    assert pem.is_pem(PEM)
    assert not pem.is_pem(b"-----BEGIN SYNCD RECOVERY KIT-----")
    assert not pem.is_pem(b"chat")
    assert pem.is_private(PEM)
    assert not pem.is_private(public_pem(OTHER))


def test_no_kit_holds_an_rsa_key_and_none_is_made() -> None:
    with pytest.raises(IdentityError, match="holds no rsa key"):
        IDENTITY.to_bytes()
    with pytest.raises(IdentityError, match="does not know"):
        Identity.from_bytes(b"\x03" + IDENTITY.private)
    with pytest.raises(IdentityError, match="made by your PKI"):
        Identity.generate(Kem.RSA)


def test_no_repr_shows_a_private_key() -> None:
    assert repr(IDENTITY) == "Identity(kem=<Kem.RSA: 3>)"
    assert "decrypt" not in repr(HsmIdentity(public=IDENTITY.recipient, decrypt=bytes))
