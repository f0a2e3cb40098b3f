"""recover.py, which is kept beside the kit: written from FORMAT.md alone, compared with syncd itself."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from syncd import archive
from syncd.envelope.identity import Argon2Params, protect
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, Recipient, SigningKey
from syncd.envelope.kit import parse_kit, render_kit
from syncd.format import names
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta
from syncd.format.manifest import Manifest, PackRef
from syncd.format.runs import Run, Runs
from syncd.model import Digest
from syncd.source.integrity import make_specimen
from syncd.specimen import Specimen
from syncd.store.memory import MemoryStore
from tests.e2e.process import Outcome, environment, syncd
from tests.format.make_golden import GOLDEN, PASSPHRASE, SIZE, delta, history
from tests.format.support import GENERATION
from tests.support.damage import flipped

PROGRAM = Path(__file__).parents[1] / "syncd" / "recover.py"
OBJECTS = sorted(path.relative_to(GOLDEN) for path in (GOLDEN / "chat").rglob("*") if path.is_file())
Damage = Callable[[Path], None]


def recover(archive: Path, kit: Path, to: Path, *arguments: object, passphrase: str = PASSPHRASE) -> Outcome:
    words = to.parent / "words"
    words.write_text(passphrase + "\nthis line means nothing\n")
    given = ["--archive", archive, "--identity", kit, "--to", to, "--passphrase-file", words, *arguments]
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *map(str, given)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        cwd=to.parent,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def refused(outcome: Outcome, to: Path) -> str:
    """It ended in one line and left nothing: what it said."""
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("recover: ")
    assert outcome.err.count("\n") == 1
    assert sorted(path.name for path in to.parent.iterdir()) == ["words"]
    return outcome.err


def succeeded(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture
def to(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "restored.db"


def image(pages: dict[int, bytes]) -> bytes:
    assert sorted(pages) == list(range(1, len(pages) + 1))
    return b"".join(pages[number] for number in sorted(pages))


@pytest.mark.parametrize(("seq", "archive"), [(None, "."), (None, "chat"), (0, "."), (2, "chat"), (3, ".")])
def test_the_golden_archive(to: Path, seq: int | None, archive: str) -> None:
    wanted = [] if seq is None else ["--seq", seq]
    outcome = recover(GOLDEN / archive, GOLDEN / "kit.txt", to, *wanted)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("\n") == 1
    assert to.read_bytes() == image(history()[-1 if seq is None else seq])
    assert sorted(path.name for path in to.parent.iterdir()) == ["restored.db", "words"]


def test_a_real_archive_is_restored_as_syncd_restores_it(tmp_path: Path, to: Path) -> None:
    config, kit, words = tmp_path / "syncd.toml", tmp_path / "kit.txt", tmp_path / "words"
    database, archive = tmp_path / "chat.db", tmp_path / "archive"
    words.write_text("a passphrase for this test\n")
    words.chmod(0o600)
    options = ["--config", config, "--name", "chat", "--database", database, "--target", archive.as_uri()]
    succeeded(syncd("init", *options, "--kit", kit, "--passphrase-file", words))
    application = sqlite3.connect(database)
    application.execute("pragma journal_mode = wal")
    with application:
        application.execute("create table message (id integer primary key, body text)")
        bodies = [(f"hello {number} " * 9,) for number in range(3000)]
        application.executemany("insert into message (body) values (?)", bodies)
    succeeded(syncd("run", "--once", "--config", config))
    with application:
        application.execute("update message set body = 'changed' where id % 7 = 0")
        application.execute("delete from message where id between 1000 and 2900")
    application.execute("vacuum")
    application.close()
    succeeded(syncd("run", "--once", "--config", config))

    newest = succeeded(recover(archive, kit, to, passphrase=words.read_text())).out
    last = int(newest.split(", seq ")[1].split(",")[0])
    assert last > 0
    rows = sqlite3.connect(to)
    assert rows.execute("select count(*) from message").fetchone() == (1099,)
    rows.close()
    for seq in (last, 0):
        mine, theirs = to.with_name(f"mine-{seq}"), to.with_name(f"theirs-{seq}")
        succeeded(recover(archive / "chat", kit, mine, "--seq", seq, passphrase=words.read_text()))
        secrets = ["--identity", kit, "--passphrase-file", words]
        wanted = ["--archive", (archive / "chat").as_uri(), "--seq", seq, "--to", theirs]
        succeeded(syncd("restore", *wanted, *secrets))
        assert mine.read_bytes() == theirs.read_bytes()
    assert to.read_bytes() == to.with_name(f"theirs-{last}").read_bytes()
    assert to.read_bytes() != to.with_name("theirs-0").read_bytes()


def step_to(
    old: dict[int, bytes], new: dict[int, bytes], seq: int, *, boundary: bool = True, rebase: bool = False
) -> Delta:
    return replace(delta(old, new, seq), page_size=len(new[1]), boundary=boundary, rebase=rebase)


def test_pieces_a_new_page_size_and_a_snapshot_within_a_bundle(tmp_path: Path, to: Path) -> None:
    """Snapshot at 2, bundle 1 to 4: 3 starts over with larger pages, 4 is a piece of something unfinished."""
    identity, signing = Identity.generate(Kem.X25519), SigningKey.generate()
    key, epoch = archive.new_epoch(
        "chat", GENERATION, 7, created_ms=1, recipients=[identity.recipient], signing_key=signing
    )
    small = {1: b"a" * SIZE, 2: b"b" * SIZE}
    other = {1: b"c" * SIZE, 2: b"b" * SIZE}
    large = {1: b"L" * 4096, 2: b"M" * 4096}
    torn = {1: b"L" * 4096, 2: b"N" * 4096}
    pack = archive.seal_pack(key, b"p" * 16, SIZE, [1, 2, 9], other[1] + other[2] + b"x" * SIZE, 3)
    manifest = Manifest(
        database="chat",
        generation=GENERATION,
        seq=2,
        epoch=7,
        captured_ms=1,
        created_ms=2,
        page_size=SIZE,
        page_count=2,
        packs=(PackRef(b"p" * 16, len(pack), hashlib.sha256(pack).digest(), 3, 1),),
        runs=Runs.of(Run(1, 2, 0, 0)),
    )
    steps = [
        ({}, step_to({}, small, 1)),
        (small, step_to(small, other, 2)),
        (other, step_to({}, large, 3, rebase=True)),
        (large, step_to(large, torn, 4, boundary=False)),
    ]
    sealed = [
        archive.seal_delta(key, seq, Digest().replace(added=before.items()), step)
        for seq, (before, step) in enumerate(steps, 1)
    ]
    objects = {
        names.epoch_name(GENERATION, 7): epoch,
        names.pack_name(GENERATION, b"p" * 16): pack,
        names.snapshot_name(GENERATION, 2): archive.seal_manifest(
            key, signing, manifest, Digest().replace(added=other.items())
        ),
        names.deltas_name(GENERATION, 1): archive.sign_bundle(
            signing, Bundle("chat", GENERATION, 5, tuple(sealed))
        ),
    }
    for name, raw in objects.items():
        (tmp_path / "chat" / name).parent.mkdir(parents=True)
        (tmp_path / "chat" / name).write_bytes(raw)
    golden = parse_kit((GOLDEN / "kit.txt").read_text())
    protected = protect(identity, PASSPHRASE, Argon2Params(memory_kib=64, iterations=1, lanes=1))
    kit = tmp_path / "kit.txt"
    kit.write_text(
        render_kit(
            replace(
                golden,
                verify_key=signing.verify_key,
                recipient=identity.recipient,
                protected_identity=protected,
            )
        )
    )
    assert "there is no whole state 4" in refused(recover(tmp_path, kit, to, "--seq", 4), to)
    assert "no snapshot" in refused(recover(tmp_path, kit, to, "--seq", 1), to)
    succeeded(recover(tmp_path, kit, to))
    assert to.read_bytes() == image(large)
    earlier = to.with_name("earlier.db")
    succeeded(recover(tmp_path, kit, earlier, "--seq", 2))
    assert earlier.read_bytes() == image(other)


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) // 2))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [flip, cut, extend, Path.unlink])
def test_every_damaged_object_is_noticed(tmp_path: Path, damage: Damage) -> None:
    def one(number: int) -> str:
        there = tmp_path / str(number)
        shutil.copytree(GOLDEN / "chat", there / "golden" / "chat")
        damage(there / "golden" / OBJECTS[number])
        (there / "out").mkdir()
        to = there / "out" / "restored.db"
        # Without --seq the end of the chain may be missing, and nothing in an archive tells.
        return refused(recover(there / "golden", GOLDEN / "kit.txt", to, "--seq", 5), to)

    with ThreadPoolExecutor(4) as pool:
        for number, said in enumerate(pool.map(one, range(len(OBJECTS)))):
            kind, name = OBJECTS[number].parts[-2:]
            assert name in said or kind in {"snapshots", "deltas"}


def test_a_gap_is_noticed_without_being_asked_for_a_state(tmp_path: Path, to: Path) -> None:
    shutil.copytree(GOLDEN / "chat", tmp_path / "chat")
    deltas = next((tmp_path / "chat").rglob("deltas"))
    (deltas / f"{1:016x}").unlink()
    said = refused(recover(tmp_path, GOLDEN / "kit.txt", to), to)
    assert said == (
        "recover: deltas/0000000000000003: does not follow on delta 0 (the last state before that: --seq 0)\n"
    )


def test_another_format_version_is_not_damage(tmp_path: Path, to: Path) -> None:
    shutil.copytree(GOLDEN / "chat", tmp_path / "chat")
    path = next((tmp_path / "chat").rglob("snapshots")) / f"{0:016x}"
    data = path.read_bytes()
    path.write_bytes(data[:6] + b"\2" + data[7:])
    assert "has format version 2" in refused(recover(tmp_path, GOLDEN / "kit.txt", to), to)


@pytest.mark.parametrize("whose", ["verify", "identity"])
def test_another_kit(tmp_path: Path, to: Path, whose: str) -> None:
    golden = parse_kit((GOLDEN / "kit.txt").read_text())
    identity, signing = Identity.generate(), SigningKey.generate()
    protected = protect(identity, PASSPHRASE, Argon2Params(memory_kib=64, iterations=1, lanes=1))
    other = (
        replace(golden, verify_key=signing.verify_key)
        if whose == "verify"
        else replace(golden, protected_identity=protected, recipient=identity.recipient)
    )
    kit = tmp_path / "other.txt"
    kit.write_text(render_kit(other))
    said = refused(recover(GOLDEN, kit, to), to)
    assert ("InvalidSignature" if whose == "verify" else "has no wrap for this kit") in said


KIT = (GOLDEN / "kit.txt").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no whole recovery kit"),
        (KIT.replace("-----END", "-----ENDE"), "is no whole recovery kit"),
        (KIT.replace("verify:", "verify"), "is no whole recovery kit"),
        (KIT.replace("version: 1", "version: 2"), "has version 2"),
        (KIT.replace("syncd-verify-", "syncd-verify-____"), "damaged verify key"),
        (KIT.replace("c3luY2RJ", "c3luY2RK"), "damaged identity"),
    ],
)
def test_a_bad_kit(tmp_path: Path, to: Path, text: str, said: str) -> None:
    kit = tmp_path / "kit.txt"
    kit.write_text(text)
    assert said in refused(recover(GOLDEN, kit, to), to)


def test_a_kit_that_went_through_mail(tmp_path: Path, to: Path) -> None:
    kit = tmp_path / "kit.txt"
    lines = ["  " + line + " \t" for line in ("> Fwd:\n" + KIT).splitlines()]
    kit.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    succeeded(recover(GOLDEN, kit, to))
    assert to.read_bytes() == image(history()[-1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seq", 6], "there is no whole state 6; the last one: --seq 5"),
        (["--seq", -1], "no snapshot"),
        (["--generation", "01ARZ3NDEKTSV4RRFFQ69G5FAW"], "no generation"),
        (["--generation", ".."], "no generation"),
        (["--name", "../chat"], "No such file"),
        (["--name", "other"], "No such file"),
    ],
)
def test_what_is_not_there(to: Path, arguments: list[object], said: str) -> None:
    assert said in refused(recover(GOLDEN, GOLDEN / "kit.txt", to, *arguments), to)


def test_another_name_for_the_same_directory_opens_nothing(to: Path) -> None:
    said = refused(recover(GOLDEN / "chat", GOLDEN / "kit.txt", to, "--name", "other"), to)
    assert "belongs to another database" in said


def test_a_wrong_passphrase(to: Path) -> None:
    assert "is the passphrase wrong?" in refused(
        recover(GOLDEN, GOLDEN / "kit.txt", to, passphrase="silver"), to
    )


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_nothing_that_exists_is_touched(to: Path, suffix: str) -> None:
    taken = to.with_name(to.name + suffix)
    taken.write_text("mine")
    outcome = recover(GOLDEN, GOLDEN / "kit.txt", to)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == f"recover: {taken} exists; nothing was written\n"
    assert taken.read_text() == "mine"
    assert sorted(path.name for path in to.parent.iterdir()) == sorted([taken.name, "words"])


def test_the_program_is_short() -> None:
    """Somebody in need reads it."""
    assert len(PROGRAM.read_text().splitlines()) < 300


async def test_an_rsa_key_in_the_place_of_the_identity(tmp_path: Path, to: Path) -> None:
    private = generate_private_key(65537, 3072)
    pem = tmp_path / "key.pem"
    pem.write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"golden"))
    )
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signing = SigningKey.generate()
    store = MemoryStore()
    states = make_specimen(tmp_path / "specimen.db", 5, seed=1)
    specimen = Specimen(
        store,
        database="chat",
        generation=GENERATION,
        states=states,
        signing_key=signing,
        recipients=(Identity.generate(Kem.X25519).recipient, Recipient(Kem.RSA, public)),
        now_ms=1_790_000_000_000,
        pack_pages=8,
    )
    await specimen.write(snapshots=(0, 2), bundles=[range(1, 4), range(4, 5)], epochs=(0, 3))
    for name, held in store.held.items():
        (tmp_path / "chat" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "chat" / name).write_bytes(held.data)
    kit = tmp_path / "kit.txt"
    kit.write_text(render_kit(replace(parse_kit(KIT), verify_key=signing.verify_key)))
    assert "no wrap for this kit" in refused(recover(tmp_path, kit, to), to)
    succeeded(recover(tmp_path, kit, to, "--rsa-key", pem))
    assert to.read_bytes() == states[4]
