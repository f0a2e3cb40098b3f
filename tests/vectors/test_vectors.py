"""The committed vectors are what the generators make; syncd and recover.py say of them what they must."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from syncd import archive
from syncd.contents import find_plan
from syncd.envelope.epoch import EpochKey
from syncd.envelope.kit import parse_kit
from syncd.errors import ArchiveError, FormatVersionError, SyncdError
from syncd.format.head import Head
from syncd.format.names import parse_epoch, parse_pack_id, parse_seq
from syncd.heads import Heads
from syncd.recover import main
from syncd.restore import Restore
from syncd.store.memory import Held, MemoryStore
from tests.format.support import GENERATION
from tests.vectors import make
from tests.vectors.maker import IDENTITY, SIGNING, Maker
from tests.verbs.bench import NoProgress

HERE = Path(make.__file__).parent
BLOBS = json.loads((HERE / "blobs.json").read_text())
CHAINS = sorted((HERE / "chains").glob("*.json"))
OBJECTS = [
    (path.stem, each)
    for path in sorted((HERE / "objects").glob("*.json"))
    for each in json.loads(path.read_text())
]
VERIFY_KEY = SIGNING.verify_key


def decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def objects_of(chain: dict[str, Any]) -> dict[str, bytes]:
    return {name: base64.b64decode(BLOBS[blob]) for name, blob in chain["objects"].items()}


def store_of(chain: dict[str, Any]) -> MemoryStore:
    return MemoryStore(held={name: Held(raw, 0) for name, raw in objects_of(chain).items()})


def test_the_generators_make_these_bytes() -> None:
    made = make.files()
    there = {path.relative_to(HERE).as_posix(): path.read_text() for path in HERE.rglob("*.json")}
    there["kit.txt"] = (HERE / "kit.txt").read_text()
    assert sorted(there) == sorted(made)
    for name, text in made.items():
        assert there[name] == text, f"{name}: run `python -m tests.vectors.make`"


def test_there_are_many_and_they_are_small() -> None:
    assert len(CHAINS) > 35
    assert len(OBJECTS) > 50
    assert sum(path.stat().st_size for path in HERE.rglob("*.json")) < 400_000


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
async def test_syncd_restores_a_chain_or_says_why_not(path: Path, tmp_path: Path) -> None:
    chain = json.loads(path.read_text())
    wanted = decoded(chain["passing_over_manifests"]) or decoded(chain["restored"])
    to = tmp_path / "restored.db"
    store, refusal = store_of(chain), ""
    try:
        plan, _ = await find_plan(store, database="chat", verify_key=VERIFY_KEY)
        restore = Restore(
            store, identity=IDENTITY, verify_key=VERIFY_KEY, database="chat", progress=NoProgress()
        )
        await restore.run(plan, to, force=False)
    except SyncdError as e:
        refusal = str(e)
    assert (to.read_bytes() if to.exists() else None) == wanted, refusal
    assert wanted is not None or chain["names"].split("/")[0] in refusal


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_recover_restores_a_chain_or_says_why_not(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = json.loads(path.read_text())
    for name, raw in objects_of(chain).items():
        (tmp_path / "chat" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "chat" / name).write_bytes(raw)
    (tmp_path / "words").write_text(make.PASSPHRASE)
    to = tmp_path / "restored.db"
    given = ["--archive", tmp_path, "--identity", HERE / "kit.txt", "--to", to]
    monkeypatch.setattr(
        sys, "argv", list(map(str, ["recover.py", *given, "--passphrase-file", tmp_path / "words"]))
    )
    wanted, refusal = decoded(chain["restored"]), ""
    try:
        main()
    except SystemExit as e:
        refusal = str(e.code)
    assert (to.read_bytes() if to.exists() else None) == wanted, refusal
    assert wanted is not None or chain["names"].split("/")[-1] in refusal


async def test_a_tail_that_was_cut_off_is_told_by_a_head_only() -> None:
    whole = json.loads((HERE / "chains" / "ok.json").read_text())
    cut = json.loads((HERE / "chains" / "removed-bundle.json").read_text())
    head = Head.parse(whole["head"])
    assert (await Heads(store_of(whole), database="chat", verify_key=VERIFY_KEY).check(head)).head == head
    with pytest.raises(ArchiveError, match="what was newer is gone"):
        await Heads(store_of(cut), database="chat", verify_key=VERIFY_KEY).check(head)


def read(kind: str, name: str, raw: bytes) -> object:
    place: dict[str, Any] = {"generation": GENERATION, "database": "chat", "verify_key": VERIFY_KEY}
    if kind == "epochs":
        return archive.open_epoch(raw, number=parse_epoch(name), identity=IDENTITY, **place)
    if kind == "deltas":
        return archive.read_bundle(raw, first_seq=parse_seq(name), **place)
    if kind == "snapshots":
        return archive.read_manifest(raw, seq=parse_seq(name), **place)
    maker = Maker()
    keys = {number: EpochKey("chat", GENERATION, number, maker.secret(number)) for number in (1, 2)}
    return archive.open_pack(keys.__getitem__, parse_pack_id(name), raw, name)


@pytest.mark.parametrize(("kind", "vector"), OBJECTS, ids=[f"{kind}-{v['what']}" for kind, v in OBJECTS])
def test_an_object_is_read_or_refused(kind: str, vector: dict[str, str]) -> None:
    raw, name = base64.b64decode(vector["raw"]), vector["name"]
    if vector["result"] == "ok":
        assert read(kind, name, raw)
        return
    with pytest.raises(ArchiveError) as caught:
        read(kind, name, raw)
    assert str(caught.value).startswith(name)
    assert isinstance(caught.value, FormatVersionError) == (vector["result"] == "version")


def test_the_kit_opens() -> None:
    assert parse_kit((HERE / "kit.txt").read_text()).recipient == IDENTITY.recipient
