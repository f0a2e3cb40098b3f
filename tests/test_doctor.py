"""What the doctor makes of measurements; a table for each."""

import pytest

from syncd.cli.doctor import exit_code
from syncd.doctor import findings
from syncd.doctor.findings import Finding, Level
from syncd.state import Job

MIB = 1 << 20
DAY = 86_400_000
NOW = 1_790_000_000_000
OK, WARNING, FAILURE = Level


def judged(finding: Finding, level: Level, *words: str) -> None:
    assert finding.level is level, finding
    assert all(word in finding.what for word in words), finding
    assert bool(finding.advice) == (level is not OK)


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, OK), (0o644, OK), (0o640, OK), (0o660, FAILURE), (0o602, FAILURE)]
)
def test_the_configuration(mode: int, level: Level) -> None:
    judged(findings.of_configuration("/etc/syncd/syncd.toml", 0o100000 | mode), level)


@pytest.mark.parametrize(
    ("mode", "level", "word"),
    [
        (0o600, OK, "not open"),
        (0o660, OK, "not open"),
        (0o644, WARNING, "0644"),
        (0o666, FAILURE, "change"),
        (0o602, FAILURE, "change"),
    ],
)
def test_the_database_lies_open(mode: int, level: Level, word: str) -> None:
    judged(findings.of_database_mode("/srv/chat.db", mode), level, word)


@pytest.mark.parametrize(("wal", "level"), [(True, OK), (False, WARNING)])
def test_the_journal_mode(wal: bool, level: Level) -> None:
    judged(findings.of_journal("/srv/chat.db", wal=wal), level)


@pytest.mark.parametrize(
    ("wal", "database", "level"),
    [
        (0, 0, OK),
        (64 * MIB, MIB, OK),
        (64 * MIB + 1, MIB, WARNING),
        (500 * MIB, 500 * MIB, OK),
        (500 * MIB + 1, 500 * MIB, WARNING),
    ],
)
def test_a_log_that_grows(wal: int, database: int, level: Level) -> None:
    judged(findings.of_wal("/srv/chat.db", wal, database), level, "MiB")


@pytest.mark.parametrize(
    ("version", "bug"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_the_wal_reset_bug(version: tuple[int, int, int], bug: bool) -> None:
    assert findings.has_wal_reset_bug(version) is bug
    number = version[0] * 1_000_000 + version[1] * 1000 + version[2]
    text = ".".join(map(str, version))
    judged(findings.of_writer("/srv/chat.db", number, wal=True), WARNING if bug else OK, text)
    judged(findings.of_writer("/srv/chat.db", number, wal=False), OK, text)
    judged(findings.of_own_library(version), OK, text)


def test_a_database_that_does_not_say_who_wrote_it() -> None:
    judged(findings.of_writer("/srv/chat.db", 0, wal=True), WARNING, "does not say")


@pytest.mark.parametrize(
    ("free", "needed", "level"),
    [(99, 100, FAILURE), (100, 100, WARNING), (199, 100, WARNING), (200, 100, OK), (0, 0, OK)],
)
def test_room(free: int, needed: int, level: Level) -> None:
    judged(findings.of_space("/var/lib/syncd", free, needed), level, "free")


@pytest.mark.parametrize(
    ("url", "endpoint", "level"),
    [
        ("file:///srv/backup", "", OK),
        ("s3://b/p", "", OK),
        ("s3://b/p", "https://s3.example.org", OK),
        ("s3://b/p", "http://127.0.0.1:8333", OK),
        ("s3://b/p", "http://[::1]:8333", OK),
        ("s3://b/p", "http://localhost.example.org", FAILURE),
        ("s3://b/p", "http://s3.example.org:9000", FAILURE),
    ],
)
def test_encryption_in_transit(url: str, endpoint: str, level: Level) -> None:
    judged(findings.of_transport("bucket", url, endpoint), level)


@pytest.mark.parametrize(("schedule", "level"), [("30 3 * * *", OK), ("", WARNING)])
def test_a_retention_that_is_off(schedule: str, level: Level) -> None:
    judged(findings.of_retention("chat", schedule), level)


@pytest.mark.parametrize(
    ("age_days", "levels"), [(None, [WARNING]), (1, [OK]), (100, [OK]), (101, [OK, WARNING])]
)
def test_whether_the_kit_was_ever_checked(age_days: int | None, levels: list[Level]) -> None:
    jobs = {}
    if age_days is not None:
        jobs["keys check"] = Job("keys check", NOW - age_days * DAY, ok=True, detail="opens")
    assert [each.level for each in findings.of_jobs("chat", jobs, NOW)] == levels


def test_jobs_that_failed() -> None:
    check = Job("keys check", NOW, ok=True, detail="opens")
    prune = Job("prune main", NOW, ok=False, detail="access denied")
    first, second = findings.of_jobs("chat", {job.name: job for job in (check, prune)}, NOW)
    judged(first, OK, "keys check", "opens")
    judged(second, FAILURE, "prune main", "access denied", "2026-")


@pytest.mark.parametrize(
    ("levels", "code"),
    [([], 0), ([OK], 0), ([OK, WARNING, OK], 3), ([WARNING, FAILURE, OK], 1), ([FAILURE], 1)],
)
def test_the_exit_code_is_the_worst(levels: list[Level], code: int) -> None:
    assert exit_code([Finding("x", level, "y") for level in levels]) == code
