"""What the configuration says, as frozen values. `load.parse` makes them.

- Unknown keys are refused everywhere.
- Every option has its default here and nowhere else; `config/syncd.toml` is checked against it.
- Durations are seconds, sizes are bytes, paths are absolute, a target's `url` is in its one spelling.
- Rules that span several tables (a target that is named but not there) are in `relations`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from syncd.config.units import duration_between, size_between
from syncd.config.url import BucketUrl, DirectoryUrl, parse_url
from syncd.envelope.keys import Recipient
from syncd.errors import IdentityError
from syncd.policy.retention import Retention as Rule
from syncd.schedule import parse_schedule

KIB: Final = 1 << 10
MIB: Final = 1 << 20
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0

_S = TypeVar("_S", bound="Section")

CREDENTIAL: Final = "credential:"

_CREDENTIAL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(text: str) -> str:
    """A database's or a target's name; it is part of names in the archive. Raises ValueError."""
    if not _NAME.fullmatch(text) or ".." in text:
        raise ValueError(
            "a name has 1 to 64 of a-z, 0-9, '.', '_', '-', no '..', and begins with a letter or digit"
        )
    return text


def check_path(value: object) -> Path:
    """An absolute path in one spelling: no `..`, no doubled slash. Raises ValueError."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 -- pydantic collects ValueError only
    if not value.startswith("/"):
        raise ValueError("must be an absolute path")
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    path = Path("/" + value.lstrip("/"))
    if ".." in path.parts:
        raise ValueError("must not contain '..'")
    if path == Path("/"):
        raise ValueError("must not be /")
    return path


def check_url(text: str) -> str:
    """A target's URL in its one spelling. Raises ValueError."""
    return str(parse_url(text))


def check_endpoint(text: str) -> str:
    """Empty (Amazon's own), or http(s)://host[:port]. Raises ValueError."""
    if not text:
        return text
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        raise ValueError("must be http://host[:port] or https://host[:port]")
    if "@" in parts.netloc:
        raise ValueError("must not contain credentials; use a profile, or the usual AWS variables")
    if parts.query or parts.fragment or parts.path not in {"", "/"} or not text.isprintable():
        raise ValueError("must end after host and port; the bucket belongs into url")
    return text.rstrip("/")


def check_secret_path(value: object) -> Path:
    """An absolute path, or `credential:NAME`, see `secrets`. Raises ValueError."""
    if isinstance(value, str) and value.startswith(CREDENTIAL):
        if not _CREDENTIAL_NAME.fullmatch(value.removeprefix(CREDENTIAL)):
            raise ValueError("a credential's name has only letters, digits, '.', '_' and '-'")
        return Path(value)
    return check_path(value)


def check_recipient(text: str) -> str:
    """A public recipient in its one spelling, or the absolute path of a PEM file. Raises ValueError."""
    if text.startswith("/"):
        return str(check_path(text))
    try:
        return Recipient.parse(text).to_text()
    except IdentityError as error:
        raise ValueError(str(error)) from None


def check_distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """No value twice. Raises ValueError."""
    if len(set(values)) < len(values):
        raise ValueError("must not name the same one twice")
    return values


def check_schedule(text: str) -> str:
    """Empty, an interval or a cron expression, see syncd.schedule. Raises ValueError."""
    parse_schedule(text)
    return text


def _as_path_or_none(value: object) -> Path | None:
    return None if value == "" else check_path(value)


def _as_secret_or_none(value: object) -> Path | None:
    return None if value == "" else check_secret_path(value)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(check_name)]
AbsolutePath = Annotated[Path, BeforeValidator(check_path)]
MaxDelay = Annotated[float, BeforeValidator(duration_between(0.05, HOUR))]
MaxBytes = Annotated[int, BeforeValidator(size_between(64 * KIB, 64 * MIB))]
OutboxBytes = Annotated[int, BeforeValidator(size_between(MIB, 1 << 40))]
PollInterval = Annotated[float, BeforeValidator(duration_between(0.02, MINUTE))]
Drain = Annotated[float, BeforeValidator(duration_between(0, 10 * MINUTE))]
Timeout = Annotated[float, BeforeValidator(duration_between(1, 10 * MINUTE))]
Interval = Annotated[float, BeforeValidator(duration_between(0, 31 * DAY))]
Schedule = Annotated[str, AfterValidator(check_schedule)]
Share = Annotated[float, Field(ge=0, le=1000)]
Pitr = Annotated[float, BeforeValidator(duration_between(0, 3660 * DAY))]
Grace = Annotated[float, BeforeValidator(duration_between(MINUTE, 366 * DAY))]
Count = Annotated[int, Field(ge=0, le=100_000)]
OptionalPath = Annotated[Path | None, BeforeValidator(_as_path_or_none)]
SecretPath = Annotated[Path, BeforeValidator(check_secret_path)]
OptionalSecret = Annotated[Path | None, BeforeValidator(_as_secret_or_none)]


class Section(BaseModel):
    """What all tables have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Log(Section):
    """`[log]`: what is written to stdout, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Batch(Section):
    """`[batch]`: a batch closes at whichever of the two comes first."""

    max_delay: MaxDelay = 5.0
    max_bytes: MaxBytes = 4 * MIB


class BatchOverride(Section):
    """`[databases.NAME.batch]`: what differs from `[batch]`."""

    max_delay: MaxDelay | None = None
    max_bytes: MaxBytes | None = None


class Capture(Section):
    """`[capture]`: how databases are watched."""

    poll_interval: PollInterval = 1.0


class Outbox(Section):
    """`[outbox]`: bytes of deltas that wait on disk while a target is out of reach; then the oldest go."""

    max_bytes: OutboxBytes = 1024 * MIB


class Stop(Section):
    """`[stop]`: how long the first signal lets the daemon ship what is waiting."""

    drain: Drain = 10.0


class Snapshot(Section):
    """`[snapshot]`: when the whole database is kept again; it costs what changed since the last time.

    `delta_share`: also when deltas since then exceed this share of the database's size; 0 is never.
    """

    schedule: Schedule = "0 3 * * *"
    delta_share: Share = 0.5


class SnapshotOverride(Section):
    """`[databases.NAME.snapshot]`: what differs from `[snapshot]`."""

    schedule: Schedule | None = None
    delta_share: Share | None = None


class Retention(Section):
    """`[retention]`: what is kept, and when the rest is deleted.

    `pitr` and `grace` are seconds; `max_share` of the snapshots, and of the deltas' objects, go at most in
    one run.
    """

    schedule: Schedule = "30 3 * * *"
    pitr: Pitr = 7 * DAY
    hourly: Count = 0
    daily: Count = 30
    weekly: Count = 8
    monthly: Count = 12
    yearly: Count = 0
    minimum: Annotated[int, Field(ge=1, le=100_000)] = 2
    grace: Grace = DAY
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.25

    @property
    def rule(self) -> Rule:
        """What is kept, for the policy."""
        return Rule(
            pitr_ms=round(self.pitr * 1000),
            hourly=self.hourly,
            daily=self.daily,
            weekly=self.weekly,
            monthly=self.monthly,
            yearly=self.yearly,
            minimum=self.minimum,
            max_share=self.max_share,
        )

    @property
    def grace_ms(self) -> int:
        """The grace in milliseconds."""
        return round(self.grace * 1000)


class RetentionOverride(Section):
    """`[databases.NAME.retention]`: what differs from `[retention]`."""

    schedule: Schedule | None = None
    pitr: Pitr | None = None
    hourly: Count | None = None
    daily: Count | None = None
    weekly: Count | None = None
    monthly: Count | None = None
    yearly: Count | None = None
    minimum: Annotated[int, Field(ge=1, le=100_000)] | None = None
    grace: Grace | None = None
    max_share: Annotated[float, Field(gt=0, le=1)] | None = None


class Drill(Section):
    """`[drill]`: when a restore is tried. Without an identity on this host it is a sealed self-test."""

    schedule: Schedule = "0 5 * * 0"
    identity: OptionalPath = None
    passphrase_file: OptionalSecret = None


class Heartbeat(Section):
    """`[heartbeat]`: seconds without a shipment after which a target is told that all is well; 0 is never."""

    interval: Interval = 0.0


class Check(Section):
    """`[check]`: when SQLite's quick_check looks at the shadow."""

    schedule: Schedule = "0 4 * * *"


class Keys(Section):
    """`[keys]`: the daemon's own key, and who can open the archive (public keys only).

    Files and credentials are read by `secrets` and `recipients`.
    """

    signing_key: SecretPath = Path("/etc/syncd/signing.key")
    recipients: Annotated[
        tuple[Annotated[str, AfterValidator(check_recipient)], ...],
        BeforeValidator(_as_tuple),
        Field(min_length=1),
        AfterValidator(check_distinct),
    ]


class Credentials(Section):
    """`[targets.NAME.pruner]`, `[targets.NAME.restorer]`: credentials of their own, as a profile."""

    profile: str = ""


class Target(Section):
    """`[targets.NAME]`: one place that deltas and snapshots go to.

    The options behind `timeout` are for buckets; empty means what the AWS configuration says, for the
    pruner and the restorer what the target says.
    """

    url: Annotated[str, AfterValidator(check_url)]
    timeout: Timeout = MINUTE
    endpoint_url: Annotated[str, AfterValidator(check_endpoint)] = ""
    region: str = ""
    profile: str = ""
    pruner: Credentials = Credentials()
    restorer: Credentials = Credentials()

    @property
    def place(self) -> DirectoryUrl | BucketUrl:
        """The URL, taken apart."""
        return parse_url(self.url)


class Database(Section):
    """`[databases.NAME]`: one SQLite database of the application. Without `targets`, it goes to all."""

    path: AbsolutePath
    targets: (
        Annotated[
            tuple[Name, ...], BeforeValidator(_as_tuple), Field(min_length=1), AfterValidator(check_distinct)
        ]
        | None
    ) = None
    batch: BatchOverride = BatchOverride()
    snapshot: SnapshotOverride = SnapshotOverride()
    retention: RetentionOverride = RetentionOverride()


class Config(Section):
    """The whole file."""

    state_dir: AbsolutePath = Path("/var/lib/syncd")
    log: Log = Log()
    batch: Batch = Batch()
    capture: Capture = Capture()
    outbox: Outbox = Outbox()
    stop: Stop = Stop()
    snapshot: Snapshot = Snapshot()
    retention: Retention = Retention()
    drill: Drill = Drill()
    check: Check = Check()
    heartbeat: Heartbeat = Heartbeat()
    keys: Keys
    targets: Annotated[Mapping[Name, Target], Field(min_length=1)]
    databases: Annotated[Mapping[Name, Database], Field(min_length=1)]

    def batch_of(self, database: str) -> Batch:
        """The batch limits of one database."""
        return _over(self.batch, self.databases[database].batch)

    def snapshot_of(self, database: str) -> Snapshot:
        """When snapshots of one database are taken."""
        return _over(self.snapshot, self.databases[database].snapshot)

    def retention_of(self, database: str) -> Retention:
        """What is kept of one database."""
        return _over(self.retention, self.databases[database].retention)

    def state_of(self, database: str) -> Path:
        """Where the state of one database lies."""
        return self.state_dir / database

    def targets_of(self, database: str) -> tuple[str, ...]:
        """The names of the targets that a database goes to, in the order of the configuration."""
        chosen = self.databases[database].targets
        return tuple(name for name in self.targets if chosen is None or name in chosen)


def _over(base: _S, override: Section) -> _S:
    """`base` with what `override` sets."""
    return base.model_copy(update=override.model_dump(exclude_none=True))
