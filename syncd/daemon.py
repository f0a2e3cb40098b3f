"""The daemon: every database of the configuration, kept by tasks of its own.

- The first signal stops capture and ships what waits, within the drain deadline; the second cancels.
- SIGHUP reads the configuration again; where it has problems, the old one stays in use.
- A database whose state fails (a full disk, say), or whose work ends unexpectedly (no memory), is closed and
  opened again after a delay: the way back is always that of a restart. It holds no other database back.
- One process per state directory, held by a lock that ends with the process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from syncd import __version__, asked, notify
from syncd.access import Access, open_access
from syncd.clock import Clock, watch_jumps
from syncd.config import Config, check_unwritable, load, warnings
from syncd.control import listening
from syncd.duties import tasks_of
from syncd.errors import ConfigError, ConflictError, SourceError, StateError, SyncdError
from syncd.host import doubts, keep_file, locked, read_sealing
from syncd.jobs import run_due_jobs, run_jobs
from syncd.log import Event, Log, configure, logger_for
from syncd.replica import Replica, Sealing, open_replica
from syncd.replicate import Replicator
from syncd.ship import Shipper
from syncd.signals import obeyed
from syncd.state import LOCK_FILE, STATE_FILE
from syncd.troubles import Troubles

_REOPEN_SECONDS: Final = 5.0
_ONCE_PATIENCE: Final = 60.0


class Daemon:
    """Runs one configuration.

    Args:
        config: as loaded.
        path: where it was loaded from, to be read again on SIGHUP; None where it cannot be.
        clock: for everything below.
    """

    def __init__(self, config: Config, *, path: Path | None, clock: Clock) -> None:
        self._config = config
        self._path = path
        self._clock = clock
        self._log = logger_for()
        self._troubles = Troubles(clock)
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._lock_lost = asyncio.Event()
        self._ready: set[str] = set()
        self._shippers: dict[str, dict[str, Shipper]] = {}
        self._replicas: dict[str, Replica] = {}

    def stop(self) -> None:
        """Drain and end, as the first SIGTERM does."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped. Raises ConfigError, StateError."""
        started = self._clock.monotonic()
        self._sealing = read_sealing(self._config)
        with obeyed(self._stop, self._reload):
            while True:
                await self._run_config(started)
                if self._stop.is_set():
                    break
        self._log(Event.DAEMON_STOPPED, duration_ms=round((self._clock.monotonic() - started) * 1000))

    async def once(self) -> None:
        """Capture what is committed now, ship everything, end. Raises the first SyncdError met."""
        failures: list[SyncdError] = []
        self._sealing = read_sealing(self._config)
        async with self._opened() as stores:
            for name in self._config.databases:
                try:
                    await self._once(name, stores)
                except SyncdError as e:
                    if isinstance(e, StateError):
                        logger_for(database=name)(Event.STATE_FAILED, error=str(e))
                    elif not isinstance(e, SourceError):  # capture has told that already
                        logger_for(database=name)(Event.TARGET_FAILED, error=str(e))
                    failures.append(e)
        if failures:
            raise failures[0]

    async def _run_config(self, started: float) -> None:
        config = self._config
        self._log(
            Event.DAEMON_STARTED,
            version=__version__,
            databases=sorted(config.databases),
            targets=sorted(config.targets),
        )
        for warning in [*warnings(config), *doubts(config, self._clock.now_ms())]:
            self._log(Event.CONFIG_QUESTIONED, warning=warning)
        async with (
            self._opened() as stores,
            listening(config.state_dir, self._answer),
            asyncio.TaskGroup() as group,
        ):
            ends = asyncio.Event()
            tasks = [group.create_task(self._keep(name, stores, ends)) for name in config.databases]
            helpers = [
                group.create_task(self._watchdog()),
                group.create_task(self._say_ready(started)),
                group.create_task(self._keep_lock()),
                group.create_task(
                    watch_jumps(self._clock, lambda by_ms: self._log(Event.CLOCK_JUMPED, by_ms=by_ms))
                ),
            ]
            following = await self._wait_for_change()
            if following is None:
                notify.stopping()
                self._log(Event.DAEMON_STOPPING, drain_ms=round(config.stop.drain * 1000))
            ends.set()
            await asyncio.wait(tasks)
            for helper in helpers:
                helper.cancel()
        if following is not None:
            self._config, self._sealing = following
            configure(self._config.log.format, self._config.log.level)
            self._log(Event.CONFIG_RELOADED)

    async def snapshot(self, name: str, target: str | None, *, whole: bool) -> list[dict[str, object]]:
        """Take a snapshot of a database now, on one target or all. Raises SyncdError.

        Where no daemon runs: captures and ships first, as `once` does.
        """
        self._sealing = read_sealing(self._config)
        async with self._opened() as stores, self._replica(name, logger_for(database=name)) as replica:
            return await asked.snapshots(await self._catch_up(replica, stores), target, whole=whole)

    async def take_over(self, name: str, target: str | None) -> list[dict[str, object]]:
        """Take a database's targets over, or one, where no daemon runs. Raises SyncdError."""
        self._sealing = read_sealing(self._config)
        async with self._opened() as stores, self._replica(name, logger_for(database=name)) as replica:
            replicator, shippers = self._workers(replica, stores)
            await replicator.close()
            return await asked.take_overs(shippers, target)

    async def _answer(self, request: dict[str, Any]) -> list[dict[str, object]]:
        """What the command line asked for, see `control`."""
        if request.get("command") == "status":
            return [{"database": name, "error": error} for name, error in self._troubles.report().items()]
        if request.get("command") == "reload":
            self._reread()  # so that who asked hears what is wrong with it
            self._reload.set()
            return []
        if request.get("command") == "rotate":
            kept = [replica for replica in self._replicas.values() if replica.chain is not None]
            return [{"database": replica.name, "epoch": await replica.rotate()} for replica in kept]
        name, target = request.get("database", ""), request.get("target")
        if name not in self._shippers:
            raise StateError(
                f"the daemon does not keep {name} just now", hint="see its log, and `syncd status`"
            )
        if request.get("command") == "claim":
            return await asked.take_overs(self._shippers[name], target)
        return await asked.snapshots(self._shippers[name], target, whole=bool(request.get("whole")))

    async def _keep_lock(self) -> None:
        """Begin anew, under a lock that others see, when the one that we hold is not there any more."""
        try:
            await keep_file(self._config.state_dir / LOCK_FILE, self._clock)
        except StateError as e:
            self._log(Event.STATE_FAILED, error=str(e), retry_ms=0)
            self._lock_lost.set()

    async def _wait_for_change(self) -> tuple[Config, Sealing] | None:
        """Wait for a configuration that can be used, or for the end (None). Nothing stops meanwhile."""
        while True:
            await _first_of(self._stop, self._reload, self._lock_lost)
            if self._stop.is_set():
                return None
            if self._lock_lost.is_set():
                self._lock_lost.clear()
                return self._config, self._sealing
            self._reload.clear()
            notify.reloading()
            try:
                return self._reread()
            except ConfigError as e:
                self._log(Event.CONFIG_REJECTED, error=str(e))
                notify.ready()

    def _reread(self) -> tuple[Config, Sealing]:
        config = self._config
        if self._path is not None:
            check_unwritable(self._path)
            config = load(self._path)
        return config, read_sealing(config)

    async def _keep(self, name: str, stores: dict[str, Access], ends: asyncio.Event) -> None:
        """Keep one database until `ends`; open it again where its state fails."""
        log = logger_for(database=name)
        while not ends.is_set():
            try:
                async with self._replica(name, log) as replica:
                    await self._tasks(replica, stores, ends)
            except* ConflictError:
                pass  # its shipper has told it; a new generation begins
            except* StateError as group:
                self._fail(name, log, Event.STATE_FAILED, _first_leaf(group))
            except* Exception as group:  # noqa: BLE001 -- no database may end the others' work
                self._fail(name, log, Event.DATABASE_FAILED, _first_leaf(group))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REOPEN_SECONDS):
                    await ends.wait()

    def _fail(self, name: str, log: Log, event: Event, error: BaseException) -> None:
        """Tell what ended a database's work, wherever someone may look."""
        expected = isinstance(error, SyncdError)
        sentence = str(error) if expected else f"{type(error).__name__}: {error}"
        self._troubles.note(name, sentence)
        trace = {} if expected else {"exc_info": error}
        log(event, error=sentence, retry_ms=round(_REOPEN_SECONDS * 1000), **trace)

    async def _tasks(self, replica: Replica, stores: dict[str, Access], ends: asyncio.Event) -> None:
        replicator, shippers = self._workers(replica, stores)
        try:
            async with asyncio.TaskGroup() as group:
                self._shippers[replica.name] = shippers
                self._replicas[replica.name] = replica
                tasks = [
                    group.create_task(replicator.run()),
                    group.create_task(replicator.tend()),
                    group.create_task(self._note_stored(replica)),
                    group.create_task(replica.expire_keys()),
                    group.create_task(self._troubles.settle(replica)),
                    group.create_task(
                        keep_file(self._config.state_of(replica.name) / STATE_FILE, self._clock)
                    ),
                    group.create_task(run_jobs(replica, tasks_of(replica, self._config, shippers, stores))),
                    *(group.create_task(shipper.run()) for shipper in shippers.values()),
                ]
                await ends.wait()
                deadline = asyncio.get_running_loop().time() + self._config.stop.drain
                for task in tasks:
                    task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._drain(replicator, shippers)
        finally:
            self._shippers.pop(replica.name, None)
            self._replicas.pop(replica.name, None)
            await replicator.close()

    async def _drain(self, replicator: Replicator, shippers: Mapping[str, Shipper]) -> None:
        """Seal and ship what is there; a target that fails now is left for the next start."""
        with contextlib.suppress(SyncdError):
            await replicator.catch_up(patience=self._config.stop.drain / 2)
        results = await asyncio.gather(*(s.ship() for s in shippers.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, SyncdError):
                raise result

    async def _once(self, name: str, stores: dict[str, Access]) -> None:
        async with self._replica(name, logger_for(database=name)) as replica:
            shippers = await self._catch_up(replica, stores)
            await run_due_jobs(replica, tasks_of(replica, self._config, shippers, stores))

    async def _catch_up(self, replica: Replica, stores: dict[str, Access]) -> dict[str, Shipper]:
        """Capture what is committed now, and ship it. Raises the first SyncdError met."""
        replicator, shippers = self._workers(replica, stores)
        try:
            if not await replicator.catch_up(patience=_ONCE_PATIENCE):
                raise StateError(
                    f"{self._config.databases[replica.name].path} did not come to rest",
                    hint="run the daemon, or use WAL mode: PRAGMA journal_mode = WAL",
                )
        finally:
            await replicator.close()
        results = await asyncio.gather(*(s.ship() for s in shippers.values()), return_exceptions=True)
        for shipper, result in zip(shippers.values(), results, strict=True):
            if isinstance(result, SyncdError):
                await shipper.note_error(result)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return shippers

    def _workers(self, replica: Replica, stores: dict[str, Access]) -> tuple[Replicator, dict[str, Shipper]]:
        config = self._config
        batch = config.batch_of(replica.name)
        replicator = Replicator(
            replica,
            config.databases[replica.name].path,
            max_delay=batch.max_delay,
            max_bytes=batch.max_bytes,
            poll_interval=config.capture.poll_interval,
        )
        shippers = {
            target: Shipper(
                replica,
                target,
                stores[target].below(f"{replica.name}/").writer,
                delta_share=config.snapshot_of(replica.name).delta_share,
                heartbeat=config.heartbeat.interval,
                listing=stores[target].below(f"{replica.name}/").pruner,
            )
            for target in config.targets_of(replica.name)
        }
        return replicator, shippers

    @asynccontextmanager
    async def _replica(self, name: str, log: Log) -> AsyncIterator[Replica]:
        config = self._config
        replica = await open_replica(
            name,
            config.state_of(name),
            sealing=self._sealing,
            targets=[(target, config.targets[target].url) for target in config.targets_of(name)],
            clock=self._clock,
            log=log,
            outbox_bytes=config.outbox.max_bytes,
        )
        try:
            yield replica
        finally:
            await replica.close()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[dict[str, Access]]:
        """The state directory locked, the stores open."""
        config = self._config
        async with AsyncExitStack() as stack:
            stack.enter_context(locked(config.state_dir))
            stores: dict[str, Access] = {}
            for name, target in config.targets.items():
                stores[name] = open_access(target)
                stack.push_async_callback(stores[name].close)
            yield stores

    async def _note_stored(self, replica: Replica) -> None:
        await replica.stored.wait()
        self._ready.add(replica.name)

    async def _say_ready(self, started: float) -> None:
        """Ready means: of every database a position can be restored from some target."""
        while not self._ready >= set(self._config.databases):
            await self._clock.sleep(0.05)
        notify.ready("keeping " + ", ".join(sorted(self._config.databases)))
        self._log(Event.DAEMON_READY, duration_ms=round((self._clock.monotonic() - started) * 1000))

    async def _watchdog(self) -> None:
        interval = notify.watchdog_interval()
        while interval is not None:
            notify.watchdog()
            await self._clock.sleep(interval)


def _first_leaf(group: BaseExceptionGroup[Exception]) -> BaseException:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
