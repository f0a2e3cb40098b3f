"""Where an archive is and who can read it: from a configuration, a URL, or a recovery kit.

- With a database's name, the configuration says where; without one, `--archive` or else the kit.
- The verifying key comes from the kit where one is given, else from the daemon's own key.
- "Not mine" differs from "broken": a kit that no epoch is sealed for is another archive's.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import typer

from syncd.access import open_target
from syncd.cli import check_exclusive
from syncd.config import Config, find, load
from syncd.config.kits import is_pem_file, read_kit
from syncd.config.secrets import secret_file, signing_key_place
from syncd.contents import Contents, find_plan, read_contents
from syncd.envelope.keys import SigningKey, VerifyKey
from syncd.envelope.kit import Kit
from syncd.errors import ArchiveError, ConfigError, FormatVersionError, IdentityError, NoRestorePoint
from syncd.format.epoch import decode_epoch
from syncd.format.names import GENERATIONS, epochs_dir, parse_generation
from syncd.heap import collect_rarely
from syncd.policy.plan import Plan
from syncd.store import open_store, prefixed
from syncd.store.base import Store
from syncd.store.iam import Role


@dataclass(frozen=True, slots=True)
class Place:
    """What the user said."""

    name: str | None
    source: str | None
    archive: str | None
    endpoint_url: str
    identity: Path | None
    config: Path | None
    verify_key: str | None = field(default=None, kw_only=True)
    passphrase_file: Path | None = field(default=None, kw_only=True)
    passphrase_command: str | None = field(default=None, kw_only=True)
    identity_command: str | None = field(default=None, kw_only=True)

    def kit(self) -> Kit | None:
        """The recovery kit, None where none was given, or a PEM file instead. Raises IdentityError."""
        return None if self.identity is None or is_pem_file(self.identity) else read_kit(self.identity)

    def settings(self) -> Config | None:
        """The configuration, None where the archive is given otherwise. Raises ConfigError."""
        check_exclusive(archive=self.archive, **{"from": self.source})
        if self.name is None and self.source is not None:
            raise ConfigError(
                f"--from {self.source} needs the database's NAME",
                hint="targets are those of the configuration; --archive URL needs none",
            )
        if self.archive is not None or (self.name is None and self.kit() is not None):
            return None
        if self.name is None:
            raise ConfigError(
                "which database?", hint="give its NAME, or --archive URL, or --identity kit.txt"
            )
        settings = load(find(self.config))
        database_in(settings, self.name)
        return settings

    def targets(self, settings: Config) -> tuple[str, ...]:
        """Names of the targets to ask, in order. Raises ConfigError."""
        names = settings.targets_of(self.name or "")
        if self.source is None:
            return names
        if self.source not in names:
            raise ConfigError(
                f"{self.name} has no target {self.source!r}", hint=f"it has {', '.join(names)}, and shadow"
            )
        return (self.source,)


def database_in(settings: Config, name: str) -> None:
    """Raises ConfigError where the configuration has no such database."""
    if name not in settings.databases:
        names = ", ".join(sorted(settings.databases))
        raise ConfigError(f"there is no database {name!r} in the configuration", hint=f"it has {names}")


def verify_key_of(settings: Config | None, kit: Kit | None, given: str | None = None) -> VerifyKey:
    """The key that signatures are checked with: `given` as text, the kit's, or this host's daemon's.

    Raises ConfigError, IdentityError.
    """
    if given is not None:
        return VerifyKey.parse(given)
    if kit is not None:
        return kit.verify_key
    if settings is None:
        raise ConfigError(
            "nothing says whose archive this is",
            hint="give the recovery kit with --identity, or --verify-key with the line that is in every kit",
        )
    path = secret_file(signing_key_place(settings.keys))
    try:
        return SigningKey.parse(path.read_text(encoding="utf-8").strip()).verify_key
    except (OSError, UnicodeDecodeError, IdentityError) as e:
        raise ConfigError(
            f"keys.signing_key: {path} cannot be read", hint="or give the recovery kit with --identity"
        ) from e


@asynccontextmanager
async def opened(
    place: Place,
    settings: Config | None,
    kit: Kit | None,
    target: str | None,
    role: Role = Role.RESTORER,
    *,
    helped: bool = False,
) -> AsyncIterator[Store]:
    """The archive of the one database that is meant. Raises StoreError, ConfigError, NoRestorePoint.

    Reached as `role`, where the configuration has credentials of its own for it. `helped`: see `open_store`.
    """
    collect_rarely()
    async with AsyncExitStack() as stack:
        if settings is not None and target is not None:
            store = open_target(settings.targets[target], role, helped=helped)
            stack.push_async_callback(store.close)
            yield prefixed(store, f"{place.name}/")
            return
        url = place.archive or (kit.archive_url if kit else "")
        endpoint = place.endpoint_url or (kit.endpoint_url if kit else "")
        store = open_store(url, endpoint_url=endpoint, helped=helped)
        stack.push_async_callback(store.close)
        yield prefixed(store, await _database_in(store, place.name, kit))


async def contents_of(store: Store, database: str | None, kit: Kit | None, verify_key: VerifyKey) -> Contents:
    """What the archive holds. Raises StoreError, ArchiveError, NoRestorePoint, IdentityError."""
    async with _not_anothers(store, kit):
        contents = await read_contents(store, database=database, verify_key=verify_key)
    _tell(contents.damaged)
    return contents


async def plan_of(
    store: Store,
    database: str | None,
    kit: Kit | None,
    verify_key: VerifyKey,
    *,
    at_ms: int | None,
    seq: int | None,
    generation: str | None,
) -> Plan:
    """What a restore reads. Raises StoreError, ArchiveError, NoRestorePoint, IdentityError."""
    async with _not_anothers(store, kit):
        plan, damaged = await find_plan(
            store, database=database, verify_key=verify_key, at_ms=at_ms, seq=seq, generation=generation
        )
    _tell(damaged)
    if plan.passed_over is not None:
        typer.echo(
            f"syncd: generation {plan.snapshot.generation} is taken, since the store received something of it"
            f" last, though {plan.passed_over} has the later name; choose with --generation",
            err=True,
        )
    return plan


@asynccontextmanager
async def _not_anothers(store: Store, kit: Kit | None) -> AsyncIterator[None]:
    """Where no manifest can be believed: is the kit perhaps another archive's?"""
    try:
        yield
    except FormatVersionError:
        raise
    except ArchiveError as e:
        if kit is None or await is_sealed_for(store, kit):
            raise
        raise IdentityError(
            f"the kit of {kit.database} at {kit.target_url} is not the kit of this archive",
            hint="give the kit that was made together with the configuration of its daemon",
        ) from e


def _tell(damaged: Iterable[ArchiveError]) -> None:
    for error in damaged:
        typer.echo(f"syncd: left out: {error}", err=True)


async def is_sealed_for(store: Store, kit: Kit) -> bool:
    """Whether some epoch names the kit's recipient, or none can be read. It only chooses the message."""
    readable = False
    for generation in await store.dirs(GENERATIONS):
        async for info in store.objects(epochs_dir(parse_generation(generation))):
            with suppress(ArchiveError):
                epoch, _ = decode_epoch(await store.get(info.name))
                readable = True
                if kit.recipient.fingerprint in {wrap.recipient for wrap in epoch.wraps}:
                    return True
    return not readable


async def _database_in(store: Store, name: str | None, kit: Kit | None) -> str:
    """The prefix of the database below `store`; empty where the URL names its archive itself."""
    found = [directory.rstrip("/") for directory in await store.dirs("")]
    if GENERATIONS.rstrip("/") in found:
        return ""
    if not found:
        raise NoRestorePoint(f"{store.url} holds no archive", hint="check the URL")
    wanted = name or (kit.database if kit and kit.database in found else None)
    if wanted is None and len(found) == 1:
        wanted = found[0]
    if wanted not in found:
        raise NoRestorePoint(
            f"{store.url} does not say which database is meant", hint=f"give one of {', '.join(found)}"
        )
    return f"{wanted}/"
