import ast
import inspect
import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import structlog
from pydantic import SecretBytes, SecretStr
from typing_extensions import override

from syncd import log
from syncd.config import parse
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey
from syncd.errors import StoreRefused
from syncd.log import Event, configure, get_logger


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    structlog.reset_defaults()
    root.handlers[:] = before


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


def line(**values: object) -> dict[str, Any]:
    """The one JSON line that an event with these values becomes."""
    stream = io.StringIO()
    configure("json", stream=stream)
    get_logger().info(Event.DELTA_SEALED, **values)
    (written,) = stream.getvalue().splitlines()
    return dict(json.loads(written))


def text(terminal: bool = False, /, **values: object) -> str:
    stream = Terminal() if terminal else io.StringIO()
    configure("text", stream=stream)
    get_logger().info(Event.DELTA_SEALED, **values)
    return stream.getvalue()


def test_a_line_is_one_json_object_in_a_stable_order() -> None:
    found = line(seq=7, bytes=1200, duration_ms=1.5, path=Path("/srv/chat.db"), kept=True, error=None)
    assert list(found) == [
        "timestamp", "level", "event", "seq", "bytes", "duration_ms", "path", "kept", "error",
    ]  # fmt: skip
    assert found["level"] == "info"
    assert found["event"] == "delta.sealed"
    assert (found["seq"], found["bytes"], found["duration_ms"]) == (7, 1200, 1.5)
    assert (found["path"], found["kept"], found["error"]) == ("/srv/chat.db", True, None)


def test_the_time_is_iso_8601_in_utc() -> None:
    stamp = line()["timestamp"]
    assert stamp.endswith("Z")
    assert abs(datetime.fromisoformat(stamp) - datetime.now(UTC)) < timedelta(minutes=5)


def test_auto_is_json_unless_it_is_a_terminal() -> None:
    file, terminal = io.StringIO(), Terminal()
    configure("auto", stream=file)
    get_logger().info(Event.DAEMON_READY)
    configure("auto", stream=terminal)
    get_logger().info(Event.DAEMON_READY)
    assert json.loads(file.getvalue())["event"] == "daemon.ready"
    assert "daemon.ready" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_what_is_chosen_wins_over_the_terminal() -> None:
    terminal = Terminal()
    configure("json", stream=terminal)
    get_logger().info(Event.DAEMON_READY)
    assert json.loads(terminal.getvalue())["event"] == "daemon.ready"


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in text(True, seq=1)
    assert "\x1b[" not in text(False, seq=1)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in text(True, seq=1)


def test_stdout_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    get_logger().info(Event.DAEMON_READY)
    assert json.loads(capsys.readouterr().out)["event"] == "daemon.ready"


def test_the_level_can_be_changed_under_loggers_that_are_kept() -> None:
    stream = io.StringIO()
    kept = get_logger(database="chat")
    configure("json", "error", stream=stream)
    kept.warning(Event.SOURCE_BUSY)
    assert stream.getvalue() == ""
    configure("json", "debug", stream=stream)
    kept.debug(Event.SOURCE_BUSY)
    found = json.loads(stream.getvalue())
    assert (found["level"], found["database"]) == ("debug", "chat")


def test_bound_values_and_context_are_on_every_line() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)
    with structlog.contextvars.bound_contextvars(generation="g1"):
        get_logger(database="chat").bind(target="local").info(Event.DELTAS_STORED, bytes=3)
    found = json.loads(stream.getvalue())
    assert (found["generation"], found["database"], found["target"]) == ("g1", "chat", "local")


# Secrets and contents


PLANTED = "the text of a private message"


@dataclass
class Holder:
    content: str = PLANTED


class Colour(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"", "<0 bytes>"),
        (PLANTED.encode(), "<29 bytes>"),
        (bytearray(PLANTED.encode()), "<29 bytes>"),
        (memoryview(PLANTED.encode()), "<29 bytes>"),
        (memoryview(bytes(16)).cast("I"), "<16 bytes>"),
        ([1, PLANTED.encode()], [1, "<29 bytes>"]),
        ((PLANTED.encode(),), ["<29 bytes>"]),
        ({PLANTED.encode()}, ["<29 bytes>"]),
        ({"a": {"b": PLANTED.encode()}}, {"a": {"b": "<29 bytes>"}}),
        ({PLANTED.encode(): 1, 2: 3}, {"<29 bytes>": 1, "2": 3}),
        (SecretStr(PLANTED), "<SecretStr>"),
        (SecretBytes(PLANTED.encode()), "<SecretBytes>"),
        (Holder(), "<Holder>"),
        ([Holder()], ["<Holder>"]),
        (lambda: PLANTED, "<function>"),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (Event.DAEMON_READY, "daemon.ready"),
        (PurePosixPath("/a"), "/a"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (StoreRefused("s3://bucket: no such bucket", hint="create it"),
         "StoreRefused: s3://bucket: no such bucket (create it)"),
    ],
)  # fmt: skip
def test_what_is_not_plain_data_is_not_rendered(value: object, shown: object) -> None:
    assert line(value=value)["value"] == shown
    assert PLANTED not in text(value=value)


def test_keys_do_not_reach_a_log() -> None:
    identity, signing = Identity.generate(Kem.X25519), SigningKey.generate()
    config = parse(
        {
            "keys": {"recipients": [identity.recipient.to_text()]},
            "targets": {"local": {"url": "file:///backups"}},
            "databases": {"chat": {"path": "/srv/chat.db"}},
        }
    )
    values: dict[str, object] = {
        "identity": identity,
        "signing": signing,
        "raw": identity.private,
        "config": config,
    }
    for rendered in (json.dumps(line(**values)), text(False, **values)):
        assert "<Identity>" in rendered
        assert "<SigningKey>" in rendered
        for secret in (signing.private, identity.private):
            for spelling in (secret.hex(), repr(secret)[2:-1], signing.to_text()):
                assert spelling not in rendered


def secretive() -> None:
    passphrase = PLANTED
    raise ValueError(len(passphrase))


@pytest.mark.parametrize("fmt", ["json", "text"])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_traceback_has_no_local_variables(fmt: log.Format, terminal: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    configure(fmt, stream=stream)
    try:
        secretive()
    except ValueError:
        get_logger().exception(Event.TARGET_FAILED)
    written = stream.getvalue()
    assert "ValueError: 29" in written
    assert "in secretive" in written
    assert PLANTED not in written
    if fmt == "json":
        assert len(written.splitlines()) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_file_name_can_neither_forge_a_line_nor_drive_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    name = Path("/srv/a\n2026-01-01 [info] daemon.ready\x1b[2J\x07\udcff")
    written = text(terminal, path=name, name=str(name))
    assert len(written.splitlines()) == 1
    assert written.rstrip("\n").isprintable()
    assert written.encode()
    assert line(path=name)["path"] == "/srv/a\n2026-01-01 [info] daemon.ready\\x1b[2J\\x07\\udcff"


def test_keys_are_escaped_too() -> None:
    assert "a\\x1b" in line(**{"a\x1b": 1})


# The list of events


def test_events_are_a_noun_and_a_verb_and_unique() -> None:
    for event in Event:
        assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", event.value), event
        assert event.name.lower() == event.value.replace(".", "_")
    assert len({event.value for event in Event}) == len(Event)


def test_every_event_says_when_and_which_keys() -> None:
    lines = inspect.getsource(log).splitlines()
    (tree,) = [node for node in ast.parse("\n".join(lines)).body if getattr(node, "name", "") == "Event"]
    assert isinstance(tree, ast.ClassDef)
    members = [node for node in tree.body if isinstance(node, ast.Assign)]
    assert len(members) == len(Event)
    for node in members:
        assert lines[node.lineno - 2].startswith("    # "), lines[node.lineno - 1]


# Libraries


def test_warnings_of_libraries_become_events() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)
    library = logging.getLogger("some.library")
    library.debug("headers: %s", PLANTED)
    library.info("connected")
    library.warning("tried %d times", 3)
    library.error("gave up")
    found = [json.loads(written) for written in stream.getvalue().splitlines()]
    assert [(one["event"], one["level"], one["library"], one["message"]) for one in found] == [
        ("library.warned", "warning", "some.library", "tried 3 times"),
        ("library.warned", "error", "some.library", "gave up"),
    ]


def test_they_are_forwarded_once_however_often_it_is_configured() -> None:
    before = len(logging.getLogger().handlers)
    stream = io.StringIO()
    for _ in range(3):
        configure("json", stream=stream)
    assert len(logging.getLogger().handlers) == before + 1
    logging.getLogger("some.library").warning("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_library_that_repeats_itself_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    for _ in range(1000):
        logging.getLogger("some.library").error("out of descriptors")
    logging.getLogger("some.library").error("something else")
    messages = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert messages == ["out of descriptors", "something else"]


def test_a_malformed_log_call_of_a_library_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    configure("json", stream=io.StringIO())
    handler = logging.getLogger().handlers[-1]
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d", ("no number",), None)
    handler.handle(record)
    assert "TypeError" in capsys.readouterr().err
