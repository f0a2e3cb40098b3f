"""What is planted in the database, and every key, is looked for in all files of a running daemon.

Messages may be in the shadow and in the redo of syncd's own state; nothing may be anywhere else.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

import pytest

from syncd.archive import open_epoch
from syncd.envelope.identity import unprotect
from syncd.envelope.keys import SigningKey
from syncd.envelope.kit import parse_kit
from tests.e2e.application import Application
from tests.e2e.process import Zygote, poll, running, succeeded
from tests.e2e.support import PASSPHRASE, Site, objects
from tests.e2e.test_logs import spellings

TEXTS = [f"planted-{number:04x}-in-a-message-that-nobody-else-writes" for number in range(40)]


def epoch_secrets(site: Site) -> Iterator[bytes]:
    kit = parse_kit(site.kit.read_text())
    identity = unprotect(kit.protected_identity, PASSPHRASE)
    for name, raw in objects(site.archive).items():
        if "/epochs/" in name:
            key = open_epoch(
                raw,
                database="chat",
                generation=name.split("/")[2],
                identity=identity,
                verify_key=kit.verify_key,
            )
            yield bytes(key.secret)


def keys_of(site: Site) -> list[bytes]:
    kit = parse_kit(site.kit.read_text())
    secrets = [
        *epoch_secrets(site),
        SigningKey.parse(site.signing_key.read_text().strip()).private,
        unprotect(kit.protected_identity, PASSPHRASE).private,
    ]
    found = [spelling.encode("latin-1") for secret in secrets for spelling in spellings(secret)]
    return [*found, PASSPHRASE.encode(), site.signing_key.read_bytes().strip()]


def places(site: Site) -> dict[str, bytes]:
    """Every file of the state directory and of the target."""
    found = {f"state/{name}": raw for name, raw in objects(site.state_dir).items()}
    return found | {f"archive/{name}": raw for name, raw in objects(site.archive).items()}


def columns_but_redo(site: Site, copy: Path) -> bytes:
    """All that the state says outside its redo, which has images of pages."""
    for suffix in ("", "-wal"):
        source = site.state_dir / "chat" / f"state.db{suffix}"
        if source.exists():
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    out = bytearray()
    with closing(sqlite3.connect(copy)) as state:
        tables = [row[0] for row in state.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        assert "redo" in tables
        for table in tables:
            if table != "redo":
                for row in state.execute(f"SELECT * FROM {table}"):
                    out += b"\0".join(c if isinstance(c, bytes) else str(c).encode() for c in row)
    return bytes(out)


@pytest.mark.parametrize("killed", [False, True])
def test_messages_are_in_shadow_and_redo_only_and_keys_nowhere(
    application: Application, quick: Zygote, tmp_path: Path, killed: bool
) -> None:
    site = application.site
    site.configure('[log]\nlevel = "debug"')
    with running(site.config) as daemon:
        daemon.wait_for("daemon.ready")
        for number, text in enumerate(TEXTS):
            application.post(text)
            if number % 10 == 9:
                site.wait_stored(application.truth())
        succeeded(quick("snapshot", "chat", "--config", site.config))
        succeeded(quick("drill", "chat", "--self-test", "--config", site.config))
        if killed:
            daemon.send(SIGKILL)
            poll(lambda: daemon.process.poll() is not None, "it is dead")
        found = places(site)
        columns = columns_but_redo(site, tmp_path / "copy.db")
        keys = keys_of(site)
        outcome = None if killed else daemon.end()
    assert {name for name, raw in found.items() if any(t.encode() in raw for t in TEXTS)} <= {
        "state/chat/shadow.db",
        "state/chat/state.db",
        "state/chat/state.db-wal",
    }
    assert TEXTS[-1].encode() in found["state/chat/shadow.db"]
    assert [t for t in TEXTS if t.encode() in columns] == []
    assert len(keys) > 10
    assert [(name, key[:4]) for name, raw in found.items() for key in keys if key in raw] == []
    if outcome is not None:
        said = outcome.out.encode() + outcome.err.encode()
        assert [t for t in TEXTS if t.encode() in said] == []
        assert [key[:4] for key in keys if key in said] == []
