"""The scenarios of what the daemon does: capture, ship, first and next snapshot, new epochs."""

from syncd.ship import Shipper
from tests.crashes.scenario import Scenario
from tests.crashes.world import World

_GROW = "INSERT INTO t (a) VALUES (randomblob(90000))"
_CAPTURED = (
    (("INSERT INTO t (a) VALUES (randomblob(9000))",), 8 << 20),
    (("UPDATE t SET a = randomblob(60000)", "INSERT INTO t (a) VALUES (zeroblob(50000))"), 1),
    (("DELETE FROM t WHERE id > 1", "VACUUM"), 8 << 20),
    (("PRAGMA page_size = 1024", "VACUUM"), 8 << 20),
)


# For each process: what the application does, the size of a batch, and whether the target answers.
_SHIPPED = (
    (
        (("INSERT INTO t (a) VALUES (randomblob(3000))",), 8 << 20, True),
        (("UPDATE t SET a = randomblob(40000)", "INSERT INTO t (a) VALUES (zeroblob(50000))"), 1, False),
    ),
    (
        (("DELETE FROM t WHERE id > 1", "VACUUM"), 8 << 20, True),
        (("PRAGMA page_size = 1024", "VACUUM"), 8 << 20, False),
        (("INSERT INTO t (a) VALUES (randomblob(5000))",), 8 << 20, True),
    ),
)


async def begun(world: World) -> None:
    """A target that has the database."""
    world.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)", _GROW)
    async with world.replica() as replica:
        await world.capture(replica)
        await world.ship(replica)


async def nothing(world: World) -> None:
    """Only the application's database."""
    world.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)", _GROW)


async def _capture(world: World) -> None:
    async with world.replica() as replica:
        for statements, max_bytes in _CAPTURED:
            world.sql(*statements)
            await world.capture(replica, max_bytes=max_bytes)
    world.crash_application("UPDATE t SET a = randomblob(5000)", "INSERT INTO t (a) VALUES ('wal')")
    async with world.replica() as replica:
        await world.capture(replica)


async def _first(world: World) -> None:
    async with world.replica() as replica:
        await world.capture(replica)
        await world.ship(replica)


async def _ship(world: World) -> None:
    for steps in _SHIPPED:
        async with world.replica() as replica:
            for statements, max_bytes, ships in steps:
                world.sql(*statements)
                await world.capture(replica, max_bytes=max_bytes)
                if ships:
                    await world.ship(replica)


async def _changed(world: World) -> None:
    await begun(world)
    async with world.replica() as replica:
        for _ in range(3):
            world.sql(_GROW)
            await world.capture(replica)
            await world.ship(replica)
        await Shipper(replica, "main", world.store()).snapshot("asked for")
        world.sql("UPDATE t SET a = randomblob(90000) WHERE id <> 2", "DELETE FROM t WHERE id = 3")
        await world.capture(replica)
        await world.ship(replica)


async def _second(world: World) -> None:
    async with world.replica() as replica:
        store = world.pointed()

        async def write() -> None:
            world.sql("UPDATE t SET a = randomblob(90000)")
            await world.capture(replica)

        store.meanwhile = write
        shipper = Shipper(replica, "main", store)
        await shipper.snapshot("asked for")
        await shipper.ship()


async def _whole(world: World) -> None:
    async with world.replica() as replica:
        await Shipper(replica, "main", world.store()).snapshot("asked for", whole=True)


async def _rotate(world: World) -> None:
    async with world.replica() as replica:
        for _ in range(2):
            await replica.rotate()
            world.sql("INSERT INTO t (a) VALUES (randomblob(3000))")
            await world.capture(replica)
            await world.ship(replica)


SCENARIOS = (
    Scenario("capture", begun, _capture),
    Scenario("first snapshot", nothing, _first),
    Scenario("ship", begun, _ship),
    Scenario("next snapshot", _changed, _second),
    Scenario("whole snapshot", _changed, _whole),
    Scenario("rotation", begun, _rotate),
)
