"""The commented configuration: what `init` writes, and `config/syncd.toml`.

- It states every option. `init` leaves those at their default commented out, so that they follow the
  defaults of later versions; `config/syncd.toml` has them all active.
- The defaults are taken from the model, so that the comments cannot lie about them.
- It is pure: from a Setup to text, which `load` reads back to the same values.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.config.model import (
    Batch,
    Capture,
    Check,
    Drill,
    Heartbeat,
    Log,
    Outbox,
    Retention,
    Snapshot,
    Stop,
    Target,
)
from syncd.config.units import format_duration, format_size
from syncd.config.url import BucketUrl, parse_url

# Where an example needs a recipient. It does not load: an example that is used as it is would seal to a
# key that nobody has.
PLACEHOLDER: Final = "syncd-recipient-REPLACE-ME"

_LINE: Final = 100  # a hybrid recipient has 1,600 characters
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEAD: Final = """\
# The configuration of syncd. Options that are commented out stand at their defaults.
# Durations: "500ms", "5s", "10m", "2h", "7d". Sizes: "512KiB", "4MiB", or a number of bytes.
# Schedules: an interval such as "6h", a cron expression in UTC such as "0 3 * * *", or "" for never. A run
# that was missed is made up for once.
# After a change: systemctl reload syncd (or SIGHUP). Unknown options are refused.
"""
_STATE_DIR: Final = """
# syncd's own files, mode 0700: a plain copy of each database, and sealed deltas that wait to be stored.
# Needs as much space as the databases. Not inside the directory of a database.
"""
_LEVEL: Final = "# debug, info, warning or error."
_FORMAT: Final = "# json: one object a line; text: for people; auto: text on a terminal, json elsewhere."
_BATCH: Final = """
# A batch of committed changes becomes one delta when the first of these is reached.
"""
_CAPTURE: Final = """
# The file watcher wakes syncd at once; this poll is the net under it.
"""
_OUTBOX: Final = """
# How much may wait on disk, for each database, while a target is out of reach. Past it the oldest deltas go,
# and the target begins again with a snapshot, which ships what changed meanwhile as a whole.
"""
_STOP: Final = """
# How long a stop (SIGTERM) goes on shipping what waits; the rest is shipped after the next start.
# Keep TimeoutStopSec of the systemd unit above it.
"""
_SNAPSHOT: Final = """
# When the whole database is kept again. It costs what changed since the last snapshot; restores get shorter.
"""
_DELTA_SHARE: Final = "# Also when deltas since the last one exceed this share of the database; 0: never."
_RETENTION: Final = """
# What is kept. Every moment of the last `pitr`; before that, of the snapshots, the last one of each of the
# newest N hours, days, weeks, months and years that have one; never fewer than `minimum`. The rest is marked,
# and deleted a `grace` later: `syncd undelete` takes it back until then. At most `max_share` goes in one run.
"""
_DRILL: Final = """
# When a restore is tried. With a recovery kit on this machine: a random position, restored from the target.
# Without (the safe choice), a sealed self-test: it cannot prove that your kit opens the archive; run
# `syncd drill` where the kit is for that.
"""
_CHECK: Final = """
# When SQLite's quick_check looks at the copy of the database, to notice damage in the application's own file.
"""
_HEARTBEAT: Final = """
# After so long without a shipment, targets get a small signed object: "nothing was newer than this". So an
# idle archive can be told from one that is held back ("syncd restore --newest-within").
# "0s": never; then no request is sent while nothing changes.
"""
_KEYS: Final = """
# signing_key: signs what this daemon writes; a file of mode 0600, or "credential:NAME" for systemd's
# LoadCredential=NAME:FILE. $SYNCD_SIGNING_KEY_FILE, if set, names the file instead.
# recipients: the public keys that deltas and snapshots are sealed to, each of them can restore; "syncd keys"
# lists, adds and removes them. Their identities (private keys) are in recovery kits, never on this machine.
# "/etc/syncd/board.pem": an RSA key of 3072 bits or more, from a PEM file with a public key or certificate.
"""
_TARGETS: Final = """
# Where deltas and snapshots go: file:///absolute/path or s3://bucket/prefix; one table for each target.
# Credentials for S3 come from the usual AWS places: environment, ~/.aws, instance role.
"""
_TIMEOUT: Final = "# Of one request."
_ENDPOINT: Final = "# Empty: Amazon's. Otherwise https://host[:port] of an S3-compatible server."
_REGION: Final = "# Empty: what the AWS configuration says."
_PROFILE: Final = "# A profile of the AWS configuration; empty: the default one."
_ROLES: Final = (
    "# Other credentials for who deletes and for who reads; empty: those above. See `syncd policy`."
)
_DATABASES: Final = """
# The databases to keep safe, one table for each. targets: some of the above; without it, all.
"""
_OVERRIDE: Final = "# What differs from the tables of these names above, for this database only."


@dataclass(frozen=True, slots=True)
class TargetSetup:
    """A target: its URL, and for a bucket the options that are set."""

    url: str
    endpoint_url: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a configuration must be told; the rest has defaults."""

    state_dir: Path
    signing_key: Path
    recipients: tuple[str, ...]
    targets: Mapping[str, TargetSetup]
    databases: Mapping[str, Path]


EXAMPLE: Final = Setup(
    state_dir=Path("/var/lib/syncd"),
    signing_key=Path("/etc/syncd/signing.key"),
    recipients=(PLACEHOLDER,),
    targets={"local": TargetSetup("file:///var/backups/syncd"), "bucket": TargetSetup("s3://bucket/prefix")},
    databases={"chat": Path("/srv/chat/chat.db")},
)


def render(setup: Setup, *, every_option: bool = False) -> str:
    """The file's text. With `every_option`, options at their defaults are active as well."""
    return "\n".join(_lines(setup, "" if every_option else "# ")) + "\n"


def spell_recipients(recipients: tuple[str, ...]) -> str:
    """The option as it stands in the file, long keys wrapped."""
    return _set("recipients", recipients)


def _lines(setup: Setup, off: str) -> Iterator[str]:
    log, capture, outbox, stop = Log(), Capture(), Outbox(), Stop()
    yield _HEAD + _STATE_DIR + _set("state_dir", str(setup.state_dir))
    yield "\n[log]\n" + _LEVEL
    yield off + _set("level", log.level)
    yield _FORMAT
    yield off + _set("format", log.format)
    yield _BATCH + "[batch]"
    yield from _batch(off)
    yield _CAPTURE + "[capture]"
    yield off + _set("poll_interval", format_duration(capture.poll_interval))
    yield _OUTBOX + "[outbox]"
    yield off + _set("max_bytes", format_size(outbox.max_bytes))
    yield _STOP + "[stop]"
    yield off + _set("drain", format_duration(stop.drain))
    yield _SNAPSHOT + "[snapshot]"
    yield from _snapshot(off)
    yield _RETENTION + "[retention]"
    yield from _retention(off)
    yield _DRILL + "[drill]"
    yield from (off + _set(field, getattr(Drill(), field)) for field in Drill.model_fields)
    yield _CHECK + "[check]"
    yield off + _set("schedule", Check().schedule)
    yield _HEARTBEAT + "[heartbeat]"
    yield off + _set("interval", format_duration(Heartbeat().interval))
    yield _KEYS + "[keys]"
    yield _set("signing_key", str(setup.signing_key))
    yield _set("recipients", setup.recipients)
    for number, (name, target) in enumerate(setup.targets.items()):
        yield from _target(name, target, off, _TARGETS if number == 0 else "\n")
    for number, (name, path) in enumerate(setup.databases.items()):
        yield (_DATABASES if number == 0 else "\n") + f"[databases.{_key(name)}]"
        yield _set("path", str(path))
        yield off + _set("targets", tuple(setup.targets))
        yield f"\n{_OVERRIDE}"
        for table, lines in (("batch", _batch), ("snapshot", _snapshot), ("retention", _retention)):
            yield f"{off}[databases.{_key(name)}.{table}]"
            yield from lines(off)


def _batch(off: str) -> Iterator[str]:
    batch = Batch()
    yield off + _set("max_delay", format_duration(batch.max_delay))
    yield off + _set("max_bytes", format_size(batch.max_bytes))


def _snapshot(off: str) -> Iterator[str]:
    snapshot = Snapshot()
    yield off + _set("schedule", snapshot.schedule)
    yield _DELTA_SHARE
    yield off + _set("delta_share", snapshot.delta_share)


def _retention(off: str) -> Iterator[str]:
    retention = Retention()
    for field in Retention.model_fields:
        value = getattr(retention, field)
        yield off + _set(field, format_duration(value) if field in {"pitr", "grace"} else value)


def _target(name: str, target: TargetSetup, off: str, head: str) -> Iterator[str]:
    defaults = Target(url=target.url)
    yield head + f"[targets.{_key(name)}]"
    yield _set("url", defaults.url)
    yield _TIMEOUT
    yield off + _set("timeout", format_duration(defaults.timeout))
    if isinstance(parse_url(target.url), BucketUrl):
        yield _ENDPOINT
        yield ("" if target.endpoint_url else off) + _set("endpoint_url", target.endpoint_url)
        yield _REGION
        yield off + _set("region", defaults.region)
        yield _PROFILE
        yield off + _set("profile", defaults.profile)
        yield _ROLES
        for role in ("pruner", "restorer"):
            yield f"{off}[targets.{_key(name)}.{role}]"
            yield off + _set("profile", getattr(defaults, role).profile)


def _set(key: str, value: str | float | tuple[str, ...] | None) -> str:
    if not isinstance(value, tuple):
        return f"{key} = {value if isinstance(value, int | float) else _quote(value or '')}"
    if any(len(item) > _LINE for item in value):
        return f"{key} = [\n{''.join(_wrap(item) for item in value)}]"
    return f"{key} = [{', '.join(_quote(item) for item in value)}]"


def _wrap(text: str) -> str:
    # A backslash at the end of a line of a TOML string takes the line break and the indent with it.
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return '  """\\\n' + "".join(f"  {line}\\\n" for line in lines) + '  """,\n'


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _quote(name)


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL and lone surrogates, which no valid value has.
    return json.dumps(text, ensure_ascii=False)
