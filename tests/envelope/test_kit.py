from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.envelope import kit as module
from syncd.envelope.identity import Argon2Params, protect, unprotect
from syncd.envelope.keys import Identity, SigningKey
from syncd.envelope.kit import BEGIN, END, Kit, parse_kit, render_kit
from syncd.errors import FormatVersionError, IdentityError

IDENTITY = Identity.generate()
KIT = Kit(
    database="chat",
    target_url="s3://bucket/prefix",
    endpoint_url="https://s3.example.org:8333",
    verify_key=SigningKey.generate().verify_key,
    recipient=IDENTITY.recipient,
    protected_identity=protect(IDENTITY, "pass", Argon2Params(32, 1, 1)),
    created_ms=1_790_000_000_123,
)
TEXT = render_kit(KIT)


def test_a_kit_comes_back_and_opens() -> None:
    assert parse_kit(TEXT) == KIT
    assert unprotect(parse_kit(TEXT).protected_identity, "pass") == IDENTITY
    plain = replace(KIT, endpoint_url="")
    assert parse_kit(render_kit(plain)) == plain
    assert "endpoint" not in render_kit(plain)


def test_a_kit_says_how_to_restore() -> None:
    assert "syncd restore --archive s3://bucket/prefix/chat --identity kit.txt --to chat.restored" in TEXT
    spaced = replace(KIT, target_url="file:///my archive/")
    assert "--archive 'file:///my archive/chat'" in render_kit(spaced)
    assert parse_kit(render_kit(spaced)) == spaced
    assert max(len(line) for line in TEXT.splitlines()) <= 110


def test_a_kit_shows_no_secret_in_repr() -> None:
    assert "protected_identity" not in repr(KIT)


@pytest.mark.parametrize(
    "mangled",
    [
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\n\n"),
        TEXT.replace("\n", "   \n  "),
        "\ufeff" + TEXT,
        TEXT[TEXT.index(BEGIN) :],
        TEXT.rstrip("\n"),
        TEXT + "\nSent from my telephone\n" + TEXT,
        TEXT.replace("\n", "\n\t"),
    ],
)
def test_what_mailers_and_editors_do_changes_nothing(mangled: str) -> None:
    assert parse_kit(mangled) == KIT


@settings(deadline=None)
@given(st.integers(20, 76))
def test_keys_may_be_wrapped_anywhere(width: int) -> None:
    head, block = TEXT[: TEXT.index("verify:")], TEXT[TEXT.index("verify:") :]
    lines = [line[at : at + width] for line in block.splitlines() for at in range(0, len(line), width)]
    wrapped = "\n".join(lines).replace("-----END SYNCD RECOV\nERY KIT-----", END)
    if END in wrapped:
        assert parse_kit(head + wrapped) == KIT


def without(name: str) -> str:
    lines = TEXT.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
    stop = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("  "))
    return "\n".join(lines[:start] + lines[stop:])


def line_of(text: str, needle: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith(needle))


@pytest.mark.parametrize(
    "name", ["version", "database", "target", "created", "verify", "recipient", "identity"]
)
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(IdentityError, match=f"'{name}' is missing"):
        parse_kit(without(name))


def test_an_empty_field_is_named_with_its_line() -> None:
    text = TEXT.replace("database: chat", "database:")
    with pytest.raises(IdentityError, match=f"line {line_of(text, 'database:')}: 'database' is missing"):
        parse_kit(text)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("version: 1\n", "version: 1\nversion: 1\n", "version: 1", "twice"),
        (f"{BEGIN}\n", f"{BEGIN}\nhello\n", "hello", "a name was expected"),
        ("created: 2026", "created: 2O26", "created", "not what belongs here"),
        ("syncd-verify-", "syncd-verify-A", "verify", "mistyped"),
        ("syncd-recipient-mlkem768x25519-", "syncd-recipient-mlkem768x25519-A", "recipient", "mistyped"),
        ("identity:\n  c3lu", "identity:\n  c3LU", "identity", "damaged"),
        ("identity:\n  c3lu", "identity:\n  c3l*", "identity", "not what belongs here"),
    ],
)
def test_an_error_names_line_and_reason(old: str, new: str, line: str, reason: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new)
    expected = line_of(text, line) + ("twice" in reason)
    with pytest.raises(IdentityError, match=rf"line {expected}: .*{reason}"):
        parse_kit(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no line '-----BEGIN"),
        ("hello\n", "there is no line '-----BEGIN"),
        (TEXT.replace(END, ""), "cut off"),
        (TEXT[: len(TEXT) // 2], "there is no line|cut off"),
        (f"{BEGIN}\n{END}\n", "'version' is missing"),
        ("x" * (module.MAX_KIT_CHARS + 1), "too long"),
    ],
)
def test_what_is_no_kit_is_refused(text: str, reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        parse_kit(text)


def test_a_newer_kit_is_told_from_damage() -> None:
    with pytest.raises(FormatVersionError, match="upgrade"):
        parse_kit(TEXT.replace("version: 1", "version: 2"))


def test_no_change_of_one_character_gives_other_keys() -> None:
    start = TEXT.index("verify:")
    for at in range(start, len(TEXT), 3):
        for letter in "A\n":
            try:
                found = parse_kit(TEXT[:at] + letter + TEXT[at + 1 :])
            except (IdentityError, FormatVersionError):
                continue
            assert (found.verify_key, found.recipient) == (KIT.verify_key, KIT.recipient)
            assert found.protected_identity == KIT.protected_identity


@pytest.mark.parametrize(
    "change",
    [{"database": "a\nb"}, {"target_url": " s3://x"}, {"target_url": "s3://x\r"}, {"endpoint_url": "x\tb"}],
)
def test_what_cannot_stand_on_one_line_is_not_written(change: dict[str, str]) -> None:
    fields = {name: getattr(KIT, name) for name in Kit.__slots__}
    with pytest.raises(ValueError, match="one line"):
        render_kit(Kit(**{**fields, **change}))
