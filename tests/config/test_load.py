from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.config import Batch, Config, Retention, check_private, find, load, parse, warnings
from syncd.envelope.keys import SigningKey
from syncd.errors import ConfigError

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(content: str | bytes) -> Path:
        path = tmp_path / "syncd.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


NAME_RULE = "a name has 1 to 64 of a-z, 0-9, '.', '_', '-', no '..', and begins with a letter or digit"
RECIPIENT_RULE = (
    "a key that starts with 'syncd-recipient-' and a known kind was expected "
    "(known kinds: x25519, mlkem768x25519, rsa)"
)


def tables(recipient: str, **more: object) -> dict[str, object]:
    return {
        "keys": {"recipients": [recipient]},
        "targets": {"local": {"url": "file:///var/backups/syncd"}, "bucket": {"url": "s3://bucket/prefix"}},
        "databases": {"chat": {"path": "/srv/chat/chat.db"}},
    } | more


def problems(raw: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


def test_everything_that_can_be_said(write: Write, recipient: str) -> None:
    config = load(
        write(f"""
        state_dir = "/srv/state/"
        [log]
        level = "debug"
        format = "json"
        [batch]
        max_delay = "500ms"
        max_bytes = "512KiB"
        [capture]
        poll_interval = 0.02
        [stop]
        drain = 0
        [keys]
        signing_key = "/run/secrets/signing.key"
        recipients = ["{recipient}"]
        [targets.local]
        url = "file:///var/backups/syncd/"
        [targets.bucket]
        url = "s3://bucket/prefix/"
        endpoint_url = "https://s3.example:9000/"
        region = "eu-1"
        profile = "backup"
        timeout = "5s"
        [databases.chat]
        path = "/srv//chat/chat.db"
        targets = ["bucket"]
        [databases.chat.batch]
        max_delay = "1m"
        [databases.other]
        path = "/srv/chat/other.db"
        """)
    )
    assert config.state_dir == Path("/srv/state")
    assert (config.log.level, config.log.format) == ("debug", "json")
    assert config.batch == Batch(max_delay=0.5, max_bytes=512 << 10)
    assert (config.capture.poll_interval, config.stop.drain) == (0.02, 0.0)
    assert config.keys.signing_key == Path("/run/secrets/signing.key")
    assert config.keys.recipients == (recipient,)
    bucket = config.targets["bucket"]
    assert (bucket.url, bucket.endpoint_url) == ("s3://bucket/prefix", "https://s3.example:9000")
    assert (bucket.region, bucket.profile, bucket.timeout) == ("eu-1", "backup", 5.0)
    assert str(config.targets["local"].place) == "file:///var/backups/syncd"
    assert config.databases["chat"].path == Path("/srv/chat/chat.db")
    assert config.batch_of("chat") == Batch(max_delay=60.0, max_bytes=512 << 10)
    assert config.batch_of("other") == config.batch
    assert config.targets_of("chat") == ("bucket",)
    assert config.targets_of("other") == ("local", "bucket")


def test_every_problem_is_reported_at_once(recipient: str) -> None:
    raw: dict[str, object] = {
        "state_dir": "state",
        "quick": {},
        "log": {"level": "loud", "fromat": "json"},
        "batch": {"max_delay": "5 years", "max_bytes": 3},
        "capture": 5,
        "stop": {"drain": "11m"},
        "keys": {"signing_key": "signing.key", "recipients": [recipient, "age1something", 7]},
        "targets": {
            "local": {"url": "file:///backups", "region": "eu"},
            "again": {"url": "file:///backups/"},
            "Bad Name": {"url": "ftp://x", "endpoint_url": "s3.example:9000", "timeout": True},
        },
        "databases": {
            "chat": {"path": "chat.db", "targets": ["locl", "local", "local"]},
            "a": {"path": "/srv/a.db", "targets": []},
            "b": {"path": "//srv/./a.db", "batch": {"max_delay": "1ms"}},
            "c": {},
        },
    }
    assert sorted(problems(raw)) == sorted(
        [
            "state_dir: 'state' - must be an absolute path",
            f"quick: unknown key; known here: {', '.join(Config.model_fields)}",
            "log.level: 'loud' - must be 'debug', 'info', 'warning' or 'error'",
            "log.fromat: unknown key; did you mean format?",
            'batch.max_delay: \'5 years\' - must be a duration such as "500ms", "5s", "10m" or "7d"',
            "batch.max_bytes: 3 - must be between 64KiB and 64MiB",
            "capture: 5 - must be a table",
            "stop.drain: '11m' - must be between 0s and 10m",
            "keys.signing_key: (not shown) - must be an absolute path",
            f"keys.recipients.1: (not shown) - {RECIPIENT_RULE}",
            "keys.recipients.2: (not shown) - must be a string",
            f"targets.Bad Name: {NAME_RULE}",
            "targets.Bad Name.url: 'ftp://x' - must start with file:/// or s3://",
            "targets.Bad Name.endpoint_url: 's3.example:9000' - must be http://host[:port] or https://host[:port]",
            'targets.Bad Name.timeout: true - must be a duration such as "500ms", "5s", "10m" or "7d"',
            "targets.again.url: 'file:///backups' - is the same place as targets.local",
            "targets.local.region: 'eu' - is for s3:// targets only",
            "databases.chat.path: 'chat.db' - must be an absolute path",
            "databases.chat.targets: an array - must not name the same one twice",
            "databases.chat.targets.0: 'locl' - no such target; there are: local, again, Bad Name",
            "databases.a.targets: must not be empty",
            "databases.b.path: '/srv/a.db' - is the same file as databases.a",
            "databases.b.batch.max_delay: '1ms' - must be between 50ms and 1h",
            "databases.c.path: is required",
        ]
    )


def test_the_message_names_the_file_and_counts(write: Write, recipient: str) -> None:
    path = write(f"""
        state_dir = "x"
        [keys]
        recipients = ["{recipient}"]
        [targets.local]
        url = "file:///b"
        [databases.chat]
        path = "x"
        """)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 2 problems",
        "  state_dir: 'x' - must be an absolute path",
        "  databases.chat.path: 'x' - must be an absolute path",
    ]
    assert caught.value.exit_code == 10


def test_an_empty_file_is_told_what_it_needs(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(""))
    assert caught.value.message.splitlines()[1:] == [
        "  keys: is required",
        "  targets: is required",
        "  databases: is required",
    ]


def test_at_least_one_of_each(recipient: str) -> None:
    raw = tables(recipient, targets={}, databases={}, keys={"recipients": []})
    assert problems(raw) == [
        "keys.recipients: must not be empty",
        "targets: must not be empty",
        "databases: must not be empty",
    ]


@pytest.mark.parametrize("wrong", [3, "x", [], True, 1.5])
@pytest.mark.parametrize("where", ["keys", "targets", "databases", "log", "batch", "capture", "stop"])
def test_what_should_be_a_table(recipient: str, where: str, wrong: object) -> None:
    (problem,) = [line for line in problems(tables(recipient, **{where: wrong})) if "must be a table" in line]
    assert problem.startswith(f"{where}: ")


@pytest.mark.parametrize(
    "value",
    [3, ["/a"], {"a": "/b"}, True, "", "a", "~/a", "/", "/a/../b", "/a\nb", "/a\0b"],
)
def test_what_is_no_path(recipient: str, value: object) -> None:
    (problem,) = problems(tables(recipient, databases={"chat": {"path": value}}))
    assert problem.startswith("databases.chat.path: ")
    assert "must" in problem


@pytest.mark.parametrize("name", ["a", "0", "chat", "chat.db", "a-b_c.d", "x" * 64])
def test_names_that_are_allowed(recipient: str, name: str) -> None:
    config = parse(tables(recipient, databases={name: {"path": "/a"}}))
    assert list(config.databases) == [name]


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".a", "_a", "a/b", "a b", "a..b", "ä", "x" * 65, "a\n", "a\x1b[1m"]
)
def test_names_that_are_not(recipient: str, name: str) -> None:
    for table in ("databases", "targets"):
        entry = {"path": "/a"} if table == "databases" else {"url": "file:///b"}
        (problem,) = problems(tables(recipient, **{table: {name: entry}}))
        assert "a name has 1 to 64" in problem
        assert problem.isprintable()


@pytest.mark.parametrize(
    "endpoint", ["http://localhost:8333", "https://s3.example", "https://[::1]:9000", ""]
)
def test_endpoints_that_are_allowed(recipient: str, endpoint: str) -> None:
    raw = tables(recipient, targets={"b": {"url": "s3://bucket", "endpoint_url": endpoint}})
    assert parse(raw).targets["b"].endpoint_url == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:8333", "ftp://h", "http://", "http://h:99999", "http://h/bucket", "http://h?x", "http://h#x",
     "http://[h", "https://user:pw@h", "http://h\x1b"],
)  # fmt: skip
def test_endpoints_that_are_not(recipient: str, endpoint: str) -> None:
    raw = tables(recipient, targets={"b": {"url": "s3://bucket", "endpoint_url": endpoint}})
    (problem,) = problems(raw)
    assert problem.startswith("targets.b.endpoint_url: ")
    assert "pw" not in problem


def test_the_same_bucket_at_two_servers_is_two_places(recipient: str) -> None:
    server = {"url": "s3://bucket", "endpoint_url": "https://other.example"}
    raw = tables(recipient, targets={"a": {"url": "s3://bucket"}, "b": server})
    assert list(parse(raw).targets) == ["a", "b"]
    raw = tables(recipient, targets={"a": server, "b": server | {"endpoint_url": "https://other.example/"}})
    assert problems(raw) == ["targets.b.url: 's3://bucket' - is the same place as targets.a"]


@pytest.mark.parametrize(
    ("where", "table"),
    [
        ("keys.signing_key", {"keys": {"signing_key": "syncd-signing-key-SECRET"}}),
        ("keys.recipients.0", {"keys": {"recipients": ["syncd-identity-SECRET"]}}),
        ("keys.password", {"keys": {"password": "SECRET"}}),
        ("targets.b.url", {"targets": {"b": {"url": "s3://AKIA:SECRET@bucket/x"}}}),
        ("targets.b.url", {"targets": {"b": {"url": "s3://bucket/x?secret=SECRET"}}}),
        ("targets.b.secret_key", {"targets": {"b": {"url": "s3://bucket", "secret_key": "SECRET"}}}),
        ("targets.b", {"targets": {"b": "s3://AKIA:SECRET@bucket/x"}}),
        (
            "targets.b.endpoint_url",
            {"targets": {"b": {"url": "s3://bbb", "endpoint_url": "http://u:SECRET@h"}}},
        ),
        ("SECRET_KEY", {"SECRET_KEY": "SECRET"}),
    ],
)
def test_secrets_are_not_repeated(recipient: str, where: str, table: dict[str, object]) -> None:
    text = "\n".join(problems(tables(recipient, **table)))
    assert f"{where}: " in text
    assert "SECRET" not in text.replace("SECRET_KEY", "")


def test_a_secret_key_in_the_wrong_place_is_not_repeated(recipient: str) -> None:
    secret = SigningKey.generate().to_text()
    assert problems(tables(recipient, state_dir=secret)) == [
        "state_dir: (not shown) - must be an absolute path"
    ]


def test_values_are_shortened(recipient: str) -> None:
    (problem,) = problems(tables(recipient, state_dir="x" * 1000))
    assert len(problem) < 120
    assert "…" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a = 1\nb = "x\n', "line 2"),
        ("[log]\n[log]\n", "line 2"),
        ("a = 1\na = 2\n", "line 2"),
        ("a = " + "[" * 20_000, "not valid TOML"),
        ("a = " + "9" * 5_000, "not valid TOML"),
        (b"# fine\n# \xff\n", "line 2 is not UTF-8 text"),
        (b"SQLite format 3\0" + bytes(100), "not valid TOML"),
        (b"\0" * (1 << 20) + b"x", "larger than 1 MiB"),
    ],
)
def test_what_is_not_toml(write: Write, content: str | bytes, message: str) -> None:
    path = write(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file \(make one with: syncd init\)"):
        load(tmp_path / "syncd.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_the_configuration_cannot_be_changed(recipient: str) -> None:
    config = parse(tables(recipient))
    with pytest.raises(ValueError, match="frozen"):
        config.state_dir = Path("/x")
    assert parse(tables(recipient)) == config


def test_the_order_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = (tmp_path / "here.toml", tmp_path / "etc.toml")
    monkeypatch.delenv("SYNCD_CONFIG", raising=False)
    with pytest.raises(
        ConfigError, match=r"neither .*here\.toml nor .*etc\.toml .*--config or \$SYNCD_CONFIG"
    ):
        find(None, searched=searched)
    searched[1].touch()
    assert find(None, searched=searched) == searched[1]
    searched[0].touch()
    assert find(None, searched=searched) == searched[0]
    monkeypatch.setenv("SYNCD_CONFIG", "")
    assert find(None, searched=searched) == searched[0]
    monkeypatch.setenv("SYNCD_CONFIG", "/not/there.toml")
    assert find(None, searched=searched) == Path("/not/there.toml")
    assert find(Path("named.toml"), searched=searched) == Path("named.toml")


def test_private_files_and_directories_pass(tmp_path: Path) -> None:
    key = tmp_path / "signing.key"
    key.touch(0o600)
    tmp_path.chmod(0o700)
    check_private(key)
    check_private(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o602])
def test_what_others_can_reach_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "my signing.key"
    key.touch()
    key.chmod(mode)
    with pytest.raises(ConfigError, match=f"others can reach it .mode {mode:04o}.") as caught:
        check_private(key)
    assert caught.value.hint == f"run: chmod 600 '{key}'"
    key.unlink()
    key.mkdir()
    key.chmod(mode | 0o100)
    with pytest.raises(ConfigError) as caught:
        check_private(key)
    assert caught.value.hint == f"run: chmod 700 '{key}'"


def test_a_private_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"signing\.key: No such file or directory"):
        check_private(tmp_path / "signing.key")


def test_what_works_but_deserves_a_thought(recipient: str) -> None:
    def said(**more: object) -> list[str]:
        return warnings(parse(tables(recipient, **more)))

    assert said() == []
    (one,) = said(state_dir="/srv/chat/state")
    assert "inside the directory of databases.chat" in one
    (one,) = said(state_dir="/srv/state", targets={"a": {"url": "file:///srv/state/backup"}})
    assert "targets.a: file:///srv/state/backup is inside state_dir" in one
    (one,) = said(targets={"a": {"url": "s3://bucket", "endpoint_url": "http://s3.example"}})
    assert "not encrypted in transit" in one
    for local in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "https://s3.example"):
        assert said(targets={"a": {"url": "s3://bucket", "endpoint_url": local}}) == []


def test_a_config_shows_no_key_in_its_errors() -> None:
    with pytest.raises(ValueError, match="recipients") as caught:
        Config.model_validate({"keys": {"recipients": ["syncd-identity-SECRET"]}})
    assert "SECRET" not in str(caught.value)


def test_calendar_options_can_differ_for_a_database(recipient: str) -> None:
    raw = tables(recipient) | {
        "snapshot": {"schedule": "6h"},
        "retention": {"pitr": "3d", "daily": 5, "grace": "2h"},
    }
    raw["databases"] = {
        "chat": {
            "path": "/srv/chat/chat.db",
            "snapshot": {"delta_share": 0},
            "retention": {"daily": 0, "yearly": 7},
        }
    }
    config = parse(raw)
    assert (config.snapshot_of("chat").schedule, config.snapshot_of("chat").delta_share) == ("6h", 0)
    retention = config.retention_of("chat")
    assert (retention.pitr, retention.grace, retention.daily, retention.yearly) == (259_200.0, 7200.0, 0, 7)
    assert retention.minimum == Retention().minimum


@pytest.mark.parametrize(
    ("table", "option", "value"),
    [
        ("snapshot", "schedule", "sometimes"),
        ("snapshot", "delta_share", -1),
        ("retention", "minimum", 0),
        ("retention", "daily", -1),
        ("retention", "max_share", 0),
        ("retention", "grace", "1s"),
        ("drill", "passphrase_file", "pw.txt"),
        ("drill", "passphrase_file", 5),
        ("check", "schedule", "61 * * * *"),
    ],
)
def test_a_bad_calendar_is_named(recipient: str, table: str, option: str, value: object) -> None:
    raw = tables(recipient) | {table: {option: value}}
    assert [problem.split(":")[0] for problem in problems(raw)] == [f"{table}.{option}"]


def test_who_drills_with_an_identity_says_where_its_passphrase_is(recipient: str) -> None:
    raw = tables(recipient) | {"drill": {"identity": "/etc/syncd/kit.txt"}}
    assert problems(raw) == ["drill.passphrase_file: is required where drill.identity is set"]
