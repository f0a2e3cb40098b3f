"""`syncd keys` on directories, without a daemon: what it prints, what it changes, how it exits."""

import asyncio
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from syncd.cli import recipients
from syncd.cli.identity import open_identity
from syncd.cli.kits import JOB, Wanted, run_check, run_generate
from syncd.cli.places import Place, verify_key_of
from syncd.cli.recipients import run_add, run_list, run_remove, run_rotate
from syncd.config import load
from syncd.envelope.identity import Argon2Params, protect, unprotect
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit, parse_kit, render_kit
from syncd.errors import ArchiveError, ConfigError, IdentityError, WouldOverwrite
from syncd.keyring import name_of
from syncd.replica import Sealing, open_replica
from syncd.ship import Shipper
from syncd.state import STATE_FILE, read_status
from syncd.store import open_store, prefixed
from tests.envelope.test_rsa import IDENTITY as RSA
from tests.envelope.test_rsa import PEM, key_of_pem, public_pem
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.bench import Bench

CHEAP = Argon2Params(memory_kib=64, iterations=1, lanes=1)
ANN = Identity.generate(Kem.X25519)
CONFIG = """\
state_dir = "{root}/state"
[keys]
signing_key = "{root}/signing.key"
recipients = [
  # the vault
  "{recipient}",
]
[targets.one]
url = "file://{root}/one"
[targets.two]
url = "file://{root}/two"
[databases.chat]
path = "{root}/chat.db"
"""


@dataclass
class Desk:
    """A configuration with two targets, an archive with some epochs in both, a kit and its passphrase."""

    root: Path
    bench: Bench

    @property
    def config(self) -> Path:
        return self.root / "syncd.toml"

    def place(self, identity: Path, **more: Any) -> Place:
        return Place("chat", None, None, "", identity, self.config, **more)

    def kit(self, identity: Identity = IDENTITY) -> Place:
        path = self.root / "kit.txt"
        path.write_text(
            render_kit(
                Kit(
                    database="chat",
                    target_url=f"file://{self.root}/one",
                    endpoint_url="",
                    verify_key=SIGNING_KEY.verify_key,
                    recipient=identity.recipient,
                    protected_identity=protect(identity, "correct horse", CHEAP),
                    created_ms=0,
                )
            )
        )
        return self.place(path, passphrase_file=self.write("passphrase", b"correct horse\n"))

    def write(self, name: str, raw: bytes, mode: int = 0o600) -> Path:
        path = self.root / name
        path.write_bytes(raw)
        path.chmod(mode)
        return path

    async def store(self, *epochs: tuple[Identity, ...], whole: bool = False) -> None:
        """An epoch for each group of holders, with a delta; `whole` ends with a snapshot and a delta more."""
        replica = await open_replica(
            "chat",
            self.root / "state" / "chat",
            sealing=Sealing(SIGNING_KEY, (IDENTITY.recipient,)),
            targets=[(name, f"file://{self.root}/{name}") for name in ("one", "two")],
            clock=self.bench.clock,
            log=self.bench.log,
        )
        stores = {
            name: prefixed(open_store(f"file://{self.root}/{name}"), "chat/") for name in ("one", "two")
        }
        shippers = [Shipper(replica, name, store) for name, store in stores.items()]

        async def ship() -> None:
            self.bench.sql("INSERT INTO message VALUES (1)")
            await self.bench.capture(replica)
            for shipper in shippers:
                await shipper.ship()

        try:
            for holders in epochs:
                replica.sealing = Sealing(SIGNING_KEY, tuple(each.recipient for each in holders))
                if replica.chain is not None:
                    await replica.rotate()
                await ship()
                await ship()
            if whole:
                for shipper in shippers:
                    await shipper.snapshot("asked for", whole=True)
                await ship()
        finally:
            await replica.close()
            for store in stores.values():
                await store.close()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("SYNCD_PASSPHRASE_FILE", raising=False)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    desk = Desk(tmp_path, Bench(tmp_path))
    desk.bench.sql("CREATE TABLE message (body)")
    desk.write(
        "syncd.toml", CONFIG.format(root=tmp_path, recipient=IDENTITY.recipient.to_text()).encode(), 0o640
    )
    desk.write("signing.key", SIGNING_KEY.to_text().encode())
    return desk


def fingerprint(identity: Identity) -> str:
    return identity.recipient.fingerprint.hex()


async def in_thread(work: Any, *arguments: Any, **more: Any) -> None:
    """The commands begin an event loop of their own."""
    await asyncio.to_thread(work, *arguments, **more)


async def test_list_says_who_opens_what(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY,), (IDENTITY, ANN), (IDENTITY, ANN), (IDENTITY,))
    await in_thread(run_list, desk.config, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    (generation,) = (path.name for path in (desk.root / "one/chat/generations").iterdir())
    assert lines[0] == f"x25519 {fingerprint(IDENTITY)}, in the configuration"
    assert lines[1].startswith(f"  chat at one: epochs 1 to 4 of {generation}, since 2026-")
    assert lines[1].endswith(", the newest too")
    assert lines[3] == f"x25519 {fingerprint(ANN)}, not in the configuration"
    assert lines[4].startswith(f"  chat at one: epochs 2 to 3 of {generation}")
    assert lines[5].endswith(", not the newest")
    assert len(lines) == 6


async def test_list_as_json(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY,), (IDENTITY, ANN))
    await in_thread(run_list, desk.config, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert (first["kind"], first["configured"]) == ("x25519", IDENTITY.recipient.to_text())
    assert [each["number"] for each in first["opens"][0]["epochs"]] == [1, 2]
    assert (second["configured"], second["opens"][1]["target"], second["opens"][1]["newest"]) == (
        None,
        "two",
        True,
    )


async def test_a_target_that_cannot_be_read_is_told_and_holds_nothing_back(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    await desk.store((IDENTITY, ANN))
    (desk.root / "two").rename(desk.root / "away")
    desk.write("two", b"not a directory any more")
    run_add(desk.config, ANN.recipient.to_text())
    capsys.readouterr()
    await in_thread(run_remove, desk.config, fingerprint(ANN)[:8])
    captured = capsys.readouterr()
    assert "chat at one: epoch 1 of" in captured.out
    assert "note: chat at two: " in captured.err


def test_before_anything_is_stored(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    run_list(desk.config, as_json=False)
    out = capsys.readouterr().out.splitlines()
    assert out[1:] == ["  chat at one: opens nothing yet", "  chat at two: opens nothing yet"]


def test_add_and_remove_change_one_line(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    before = desk.config.read_text()
    run_add(desk.config, ANN.recipient.to_text())
    assert desk.config.read_text() == before.replace(
        f'"{IDENTITY.recipient.to_text()}",\n',
        f'"{IDENTITY.recipient.to_text()}",\n  "{ANN.recipient.to_text()}",\n',
    )
    out = capsys.readouterr().out
    assert f"added x25519 {fingerprint(ANN)}" in out
    assert "--whole" in out
    assert "no daemon runs" in out
    with pytest.raises(ConfigError, match="already"):
        run_add(desk.config, ANN.recipient.to_text())
    run_remove(desk.config, fingerprint(ANN).upper())
    assert desk.config.read_text() == before
    assert "no epoch that could be looked at names it" in capsys.readouterr().out


async def test_remove_says_what_the_key_still_opens(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY, ANN), (IDENTITY, ANN), (IDENTITY,))
    run_add(desk.config, ANN.recipient.to_text())
    capsys.readouterr()
    await in_thread(run_remove, desk.config, ANN.recipient.to_text())
    out = capsys.readouterr().out
    (generation,) = (path.name for path in (desk.root / "one/chat/generations").iterdir())
    for target in ("one", "two"):
        assert f"  chat at {target}: epochs 1 to 2 of {generation}, positions up to seq 3\n" in out
    assert "--whole" in out


def test_the_last_recipient_stays(desk: Desk) -> None:
    before = desk.config.read_text()
    with pytest.raises(ConfigError, match="is the last recipient") as caught:
        run_remove(desk.config, fingerprint(IDENTITY))
    assert "keys add" in caught.value.hint
    assert desk.config.read_text() == before


@pytest.mark.parametrize("who", ["", "1234567", "ffffffff", "syncd-recipient-x25519-AAAA", "/etc/none.pem"])
def test_who_is_not_there_is_not_removed(desk: Desk, who: str) -> None:
    run_add(desk.config, ANN.recipient.to_text())
    with pytest.raises(ConfigError, match="no such recipient") as caught:
        run_remove(desk.config, who)
    assert fingerprint(ANN) in caught.value.hint


def test_a_pem_file_stays_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.write("board.pem", public_pem(key_of_pem()), 0o644)
    monkeypatch.chdir(desk.root)
    run_add(desk.config, "board.pem")
    assert load(desk.config).keys.recipients[1] == str(path)
    run_remove(desk.config, "board.pem")
    assert len(load(desk.config).keys.recipients) == 1
    with pytest.raises(ConfigError, match="private key"):
        run_add(desk.config, str(desk.write("private.pem", PEM)))


def test_a_configuration_that_others_can_change_is_not_edited(desk: Desk) -> None:
    desk.config.chmod(0o666)
    with pytest.raises(ConfigError, match="others can change it"):
        run_add(desk.config, ANN.recipient.to_text())


def test_no_daemon_to_rotate(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    run_rotate(desk.config)
    assert capsys.readouterr().out == "no daemon runs; it begins a new epoch when it starts\n"


def test_a_daemon_that_cannot_use_it_is_heard(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("recipient /x.pem: cannot be read: Permission denied", hint="mend it")

    monkeypatch.setattr(recipients, "ask", refuse)
    with pytest.raises(ConfigError, match="the daemon goes on with what it had: recipient") as caught:
        run_add(desk.config, ANN.recipient.to_text())
    assert caught.value.hint == "mend it"
    assert ANN.recipient.to_text() in desk.config.read_text()


def test_a_daemon_answers_a_rotation(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer, said in (
        ([], "nothing is sealed yet; the first epoch begins with the first change\n"),
        ([{"database": "chat", "epoch": 7}], "chat: epoch 7 begins\n"),
    ):
        monkeypatch.setattr(recipients, "ask", lambda *_, answer=answer: answer)
        run_rotate(desk.config)
        assert capsys.readouterr().out == said


def wanted(desk: Desk, **changes: Any) -> Wanted:
    fields: dict[str, Any] = {
        "kit": desk.root / "ann.txt",
        "kem": None,
        "name": None,
        "target": None,
        "passphrase_file": None,
        "passphrase_command": None,
        "config": desk.config,
    }
    return Wanted(**(fields | changes))


@pytest.mark.parametrize(("kem", "kind"), [(None, Kem.MLKEM768_X25519), ("X25519", Kem.X25519)])
def test_generate_prints_the_recipient_of_a_kit_that_opens(
    desk: Desk, capsys: pytest.CaptureFixture[str], kem: str | None, kind: Kem
) -> None:
    run_generate(wanted(desk, kem=kem, target="two"), CHEAP)
    captured = capsys.readouterr()
    kit = parse_kit((desk.root / "ann.txt").read_text())
    assert captured.out == kit.recipient.to_text() + "\n"
    assert (kit.recipient.kem, kit.target_url) == (kind, f"file://{desk.root}/two")
    assert (desk.root / "ann.txt").stat().st_mode & 0o777 == 0o600
    passphrase = next(line.strip() for line in captured.err.splitlines() if line.startswith("    "))
    assert unprotect(kit.protected_identity, passphrase).recipient == kit.recipient
    assert ("quantum" in captured.err) == (kind is Kem.X25519)


def test_generate_takes_a_passphrase(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    file = desk.write("ann.passphrase", b"battery staple\n")
    run_generate(wanted(desk, passphrase_file=file), CHEAP)
    run_generate(
        wanted(desk, kit=desk.root / "b.txt", passphrase_command=f"cat {shlex.quote(str(file))}"), CHEAP
    )
    for name in ("ann.txt", "b.txt"):
        kit = parse_kit((desk.root / name).read_text())
        assert unprotect(kit.protected_identity, "battery staple").recipient == kit.recipient
    desk.write("ann.passphrase", b"short\n")
    run_generate(wanted(desk, kit=desk.root / "c.txt", passphrase_file=file), CHEAP)
    assert "can be guessed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"kem": "rsa"}, ConfigError, "no such kind"),
        ({"name": "other"}, ConfigError, "no database"),
        ({"target": "three"}, ConfigError, "no target"),
        ({"passphrase_file": Path("/a"), "passphrase_command": "b"}, ConfigError, "exclude each other"),
    ],
)
def test_generate_refuses(desk: Desk, changes: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        run_generate(wanted(desk, **changes), CHEAP)
    assert not (desk.root / "ann.txt").exists()


def test_generate_writes_over_nothing(desk: Desk) -> None:
    desk.write("ann.txt", b"precious")
    with pytest.raises(WouldOverwrite):
        run_generate(wanted(desk), CHEAP)
    assert (desk.root / "ann.txt").read_bytes() == b"precious"


async def test_check_proves_a_kit_and_notes_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY,), (IDENTITY,))
    await in_thread(run_check, desk.kit(), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        f"{t}: opens 2 epochs, the newest" for t in ("one", "two")
    ]
    job = {job.name: job for job in read_status(desk.root / "state/chat" / STATE_FILE).jobs}[JOB]
    assert (job.ok, job.detail) == (True, f"x25519 {fingerprint(IDENTITY)} opens one, two")
    await in_thread(run_check, desk.kit(), as_json=True)
    one, two = json.loads(capsys.readouterr().out)
    assert (one["proven"], one["epochs"], one["others"], two["target"]) == (True, 2, 0, "two")


async def test_check_of_one_who_was_added(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY,), (IDENTITY, ANN))
    with pytest.raises(IdentityError, match="in part sealed before"):
        await in_thread(run_check, desk.kit(ANN), as_json=False)
    job = {job.name: job for job in read_status(desk.root / "state/chat" / STATE_FILE).jobs}[JOB]
    assert not job.ok
    await desk.store((IDENTITY, ANN), whole=True)
    capsys.readouterr()
    await in_thread(run_check, desk.kit(ANN), as_json=False)
    assert "1 epoch not for it, from before it was added" in capsys.readouterr().out


async def test_check_tells_a_stranger_from_damage(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY,))
    with pytest.raises(IdentityError, match="is not for this identity"):
        await in_thread(run_check, desk.kit(ANN), as_json=True)
    assert [each["proven"] for each in json.loads(capsys.readouterr().out)] == [False, False]
    (epoch,) = (desk.root / "two/chat").rglob("epochs/*")
    epoch.write_bytes(epoch.read_bytes()[:-1])
    with pytest.raises(ArchiveError):
        await in_thread(run_check, desk.kit(), as_json=False)
    assert "one: opens 1 epoch" in capsys.readouterr().out


async def test_check_without_a_configuration(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY,))
    kit = desk.kit()
    alone = Place(None, None, None, "", kit.identity, None, passphrase_file=kit.passphrase_file)
    await in_thread(run_check, alone, as_json=False)
    assert capsys.readouterr().out.startswith("archive: opens 1 epoch")


def hsm(desk: Desk, code: str = "") -> str:
    """A program such as one that asks an HSM: base64 in, base64 out."""
    desk.write("hsm.pem", PEM)
    code = code or (
        "import base64, sys\n"
        "from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP\n"
        "from cryptography.hazmat.primitives.hashes import SHA256\n"
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
        f"key = load_pem_private_key(open({str(desk.root / 'hsm.pem')!r}, 'rb').read(), None)\n"
        "plain = key.decrypt(base64.b64decode(sys.stdin.read()), OAEP(MGF1(SHA256()), SHA256(), None))\n"
        "print(base64.b64encode(plain).decode())\n"
    )
    return shlex.join([sys.executable, "-c", code])


async def test_rsa_keys_from_a_file_and_from_an_hsm(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.store((IDENTITY, RSA))
    public = desk.write("board.pem", public_pem(key_of_pem()))
    for place in (
        desk.place(desk.write("board.key", PEM)),
        desk.place(public, identity_command=hsm(desk)),
    ):
        await in_thread(run_check, place, as_json=False)
        assert capsys.readouterr().out.count("opens 1 epoch, the newest") == 2


async def test_an_hsm_that_fails_or_talks_nonsense(desk: Desk) -> None:
    await desk.store((IDENTITY, RSA))
    public = desk.write("board.pem", public_pem(key_of_pem()))
    for code, error, reason in (
        ("raise SystemExit(1)", IdentityError, "failed with exit code 1"),
        ("print('%')", IdentityError, "not base64"),
        ("print('QUJD')", ArchiveError, "does not open"),
    ):
        with pytest.raises(error, match=reason):
            await in_thread(run_check, desk.place(public, identity_command=hsm(desk, code)), as_json=False)


async def test_where_a_passphrase_comes_from(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = desk.kit()
    file, path = kit.passphrase_file, kit.identity
    assert path is not None
    assert file is not None
    encrypted = key_of_pem().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse")
    )
    pem = desk.write("board.key", encrypted)
    for identity, opened, what in ((path, IDENTITY, "recovery kit"), (pem, RSA, "private key")):
        by_command = desk.place(identity, passphrase_command=f"cat {shlex.quote(str(file))}")
        for place in (desk.place(identity, passphrase_file=file), by_command):
            assert await open_identity(place, place.kit()) == opened
        nowhere = desk.place(identity)
        with pytest.raises(IdentityError, match=f"the {what} needs its passphrase"):
            await open_identity(nowhere, nowhere.kit())
        with monkeypatch.context() as patch:
            patch.setenv("SYNCD_PASSPHRASE_FILE", str(file))
            assert await open_identity(nowhere, nowhere.kit()) == opened


async def test_an_identity_that_is_not_there_or_is_none(desk: Desk) -> None:
    for path, reason in (
        (desk.root / "none", "No such file"),
        (desk.root, "Is a directory"),
        (desk.write("binary", b"\xff\xfe"), "not a text file"),
        (desk.write("text", b"hello"), "there is no line"),
        (desk.write("public.pem", public_pem(key_of_pem())), "no private key"),
    ):
        place = desk.place(path)
        with pytest.raises(IdentityError, match=reason):
            await open_identity(place, place.kit())


async def test_what_does_not_go_together(desk: Desk) -> None:
    kit = desk.kit()
    assert kit.identity is not None
    both = desk.place(kit.identity, passphrase_file=Path("/a"), passphrase_command="b")
    with pytest.raises(ConfigError, match="exclude each other"):
        await open_identity(both, both.kit())
    with_hsm = desk.place(kit.identity, identity_command="true")
    with pytest.raises(ConfigError, match="does not go with a recovery kit"):
        await open_identity(with_hsm, with_hsm.kit())
    with pytest.raises(IdentityError, match="which identity"):
        await open_identity(Place("chat", None, None, "", None, desk.config), None)


def test_a_verify_key_may_be_given_as_text(desk: Desk) -> None:
    text = SIGNING_KEY.verify_key.to_text()
    assert verify_key_of(None, None, text) == SIGNING_KEY.verify_key
    with pytest.raises(ConfigError, match="nothing says whose archive"):
        verify_key_of(None, None)
    with pytest.raises(IdentityError):
        verify_key_of(None, None, "syncd-verify-AAAA")
    nameless = Place(None, None, None, "", desk.write("board.key", PEM), None)
    with pytest.raises(ConfigError, match="which database"):
        nameless.settings()
    assert name_of(RSA.recipient)[0] == 3
