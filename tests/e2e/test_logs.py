"""What the daemon prints: JSON lines of listed events, without a word of the chat and without any key."""

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGHUP

from syncd.envelope.identity import unprotect
from syncd.envelope.keys import SigningKey
from syncd.envelope.kit import parse_kit
from syncd.log import Event
from tests.e2e.process import Zygote, running, syncd
from tests.e2e.support import PASSPHRASE, Site, keep_truth

TEXTS = ("planted-first-text", "planted-Zweiter-Gruß", "planted-in-a-huge-message")
SECRET = "planted-secret-access-key"


def spellings(secret: bytes) -> Iterator[str]:
    """The ways in which bytes get into a log."""
    yield secret.decode("latin-1")
    yield repr(secret)[2:-1]
    yield secret.hex()
    yield base64.b64encode(secret).decode().rstrip("=")
    yield base64.urlsafe_b64encode(secret).decode().rstrip("=")


def secrets_of(site: Site) -> Iterator[str]:
    for text in TEXTS:
        yield from (text, text.encode("unicode_escape").decode(), text.encode().hex())
    yield from (PASSPHRASE, SECRET)
    signing_text = site.signing_key.read_text().strip()
    yield signing_text
    yield from spellings(SigningKey.parse(signing_text).private)
    kit = parse_kit(site.kit.read_text())
    yield from spellings(kit.protected_identity)
    yield from spellings(unprotect(kit.protected_identity, PASSPHRASE).private)


def test_no_event_says_what_must_not_be_said(tmp_path: Path, quick: Zygote) -> None:
    database = tmp_path / "chat.db"
    # Everything on the way fails now and then: the target of S3 has nobody behind it.
    dead = 'url = "s3://bucket/prefix"\nendpoint_url = "http://127.0.0.1:9"'
    site = Site(
        tmp_path / "site",
        {"chat": database, "later": tmp_path / "later.db"},
        {"local": f'url = "{(tmp_path / "archive").as_uri()}"', "dead": dead},
        drain="100ms",
    )
    env = {"AWS_ACCESS_KEY_ID": "planted-key-id", "AWS_SECRET_ACCESS_KEY": SECRET}
    env |= {"AWS_DEFAULT_REGION": "us-east-1"}
    site.configure('[log]\nlevel = "debug"')
    with closing(sqlite3.connect(database, isolation_level=None)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("CREATE TABLE message (body)")
        with running(site.config, env=env) as daemon:
            daemon.wait_for("snapshot.stored")
            for text in TEXTS:
                application.execute("INSERT INTO message VALUES (?)", (text * 1000,))
            site.wait_stored(keep_truth(database, tmp_path / "truth", "all"), "local")
            daemon.wait_for("target.failed", 2)
            daemon.wait_for("source.lost")
            database.with_name("later.db").write_bytes(b"planted-first-text" * 100)
            daemon.wait_for("source.lost", 2)
            site.config.write_text(site.config.read_text() + f'\npassphrase = "{PASSPHRASE}"\n')
            daemon.send(SIGHUP)
            daemon.wait_for("config.rejected")
            outcome = daemon.end()
    assert (outcome.code, outcome.err) == (0, "")
    events = daemon.events()
    assert {line["event"] for line in events} <= set(Event)
    assert {"delta.sealed", "deltas.stored", "source.opened"} <= {line["event"] for line in events}
    for line in events:
        assert list(line)[:3] == ["timestamp", "level", "event"]
        assert line["timestamp"].endswith("Z")
    status = quick("status", "--config", site.config)
    said = outcome.out + status.out + status.err
    assert [secret for secret in secrets_of(site) if secret and secret in said] == []


def test_the_search_would_find_them(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"chat": tmp_path / "chat.db"})
    secrets = list(secrets_of(site))
    assert all(len(secret) >= 8 for secret in secrets)
    assert site.signing_key.read_text().strip() in secrets
    assert "706c616e7465642d66697273742d74657874" in secrets


def test_a_terminal_is_not_needed_for_readable_text(tmp_path: Path) -> None:
    database = tmp_path / "chat.db"
    with closing(sqlite3.connect(database)) as application:
        application.execute("CREATE TABLE message (body)")
    site = Site(tmp_path / "site", {"chat": database})
    site.configure('[log]\nformat = "text"')
    outcome = syncd("run", "--once", "--config", site.config)
    assert outcome.code == 0
    assert "snapshot.stored" in outcome.out
    assert "{" not in outcome.out
    assert "\x1b" not in outcome.out
