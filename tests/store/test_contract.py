"""What base.py promises, on every kind of store, looked at from both sides of it."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest

from syncd.errors import ObjectExists, ObjectNotFound
from syncd.store import Store
from syncd.store.probe import PROBE_NAME, probe
from tests.store.backends import Backend

NAMES = [
    "0000000000000001",
    "B/c",
    "a-b",
    "a.b",
    "a/b",
    "a/b-c/d",
    "a/b.c/d",
    "a/b0",
    "a0",
    "b/c/d/e",
    "b/c/d/f",
    "b/c/d-e",
    "b/c-d",
    "b/c.d/e",
    "b/cc/d",
    "deltas/000000000000000a",
    "deltas/000000000000000b",
    "deltas/0000000000000010",
]


async def fill(store: Store, names: list[str]) -> None:
    await asyncio.gather(*(store.put(name, name.encode()) for name in names))


async def listed(store: Store, prefix: str, after: str = "") -> list[str]:
    return [info.name async for info in store.objects(prefix, after=after)]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", bytes(range(256)), random.Random(1).randbytes(8 << 20)],
    ids=["empty", "one", "bytes", "8MiB"],
)
async def test_an_object_comes_back_as_it_went(store: Store, backend: Backend, data: bytes) -> None:
    await store.put("a/b", data)
    assert await store.get("a/b") == data
    assert backend.raw() == {"a/b": data}
    assert [info.size async for info in store.objects("")] == [len(data)]


async def test_the_first_object_stays(store: Store, backend: Backend) -> None:
    await store.put("a/b", b"first")
    with pytest.raises(ObjectExists):
        await store.put("a/b", b"other")
    assert backend.raw() == {"a/b": b"first"}


async def test_putting_the_same_bytes_again_succeeds(store: Store, backend: Backend) -> None:
    await store.put("a/b", b"")
    await store.put("a/b", b"")
    await store.put("c", b"same")
    await store.put("c", b"same")
    assert backend.raw() == {"a/b": b"", "c": b"same"}


async def test_of_sixteen_racers_one_wins(backend: Backend) -> None:
    async with AsyncExitStack() as stack:
        clients = [backend.open() for _ in range(4)]
        for client in clients:
            stack.push_async_callback(client.close)

        async def race(number: int) -> int | None:
            try:
                await clients[number % 4].put("new/race", b"%d" % number)
            except ObjectExists:
                return None
            return number

        winners = [number for number in await asyncio.gather(*map(race, range(16))) if number is not None]
    assert len(winners) == 1
    assert backend.raw() == {"new/race": b"%d" % winners[0]}


async def test_many_objects_at_once_into_new_directories(store: Store, backend: Backend) -> None:
    await fill(store, NAMES)
    assert backend.raw() == {name: name.encode() for name in NAMES}
    assert [await store.get(name) for name in NAMES] == [name.encode() for name in NAMES]


@pytest.mark.parametrize("name", ["a" * 200, "/".join("d" * 40 for _ in range(16)), ".a/..b/-/_", "A.z_0-9"])
async def test_odd_but_allowed_names(store: Store, backend: Backend, name: str) -> None:
    await store.put(name, b"x")
    assert await listed(store, "") == [name]
    assert list(backend.raw()) == [name]


async def test_other_names_are_refused(store: Store, backend: Backend) -> None:
    dotted = [".", "..", "a/../b", "./a"]
    slashed = ["", "/", "/a", "a/", "a//b"]
    for name in [*dotted, *slashed, "a b", "a~", "\u00e4", "a\n", "a\0", "a" * 201, "a/" * 400 + "a"]:
        for call in (store.put(name, b"x"), store.get(name), store.delete(name)):
            with pytest.raises(ValueError, match="not an object name"):
                await call
    assert backend.raw() == {}


async def test_other_prefixes_are_refused(store: Store) -> None:
    for prefix in ("/", "a//", "../", "a/../", "*", "a b"):
        with pytest.raises(ValueError, match="name"):
            await listed(store, prefix)
        with pytest.raises(ValueError, match="name"):
            await store.dirs(prefix)
    with pytest.raises(ValueError, match="slash"):
        await store.dirs("a")


async def test_a_missing_object_is_not_found(store: Store) -> None:
    with pytest.raises(ObjectNotFound):
        await store.get("a")
    await store.put("a/b/c", b"x")
    for name in ("a/b", "a", "a/b/c/d", "a/x"):
        with pytest.raises(ObjectNotFound):
            await store.get(name)


async def test_listing_is_in_bytewise_order_of_whole_names(store: Store) -> None:
    await fill(store, random.Random(2).sample(NAMES, len(NAMES)))
    rows = [info async for info in store.objects("")]
    assert [info.name for info in rows] == sorted(NAMES)
    assert [info.size for info in rows] == [len(name) for name in sorted(NAMES)]
    assert all(info.modified_ms > 1_700_000_000_000 for info in rows)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "b/c", "b/c/", "deltas/00", "z/"])
async def test_listing_starts_after_any_name(store: Store, prefix: str) -> None:
    await fill(store, NAMES)
    gaps = [
        "0",
        "a-",
        "a-a",
        "a/b-c/c",
        "b/c-",
        "b/c/d-f",
        "deltas/000000000000000a0",
        "zz",
        "B/",
        "a/",
        "b/c/",
    ]
    for after in ["", *NAMES, *gaps]:
        expected = [name for name in sorted(NAMES) if name.startswith(prefix) and name > after]
        assert await listed(store, prefix, after) == expected, f"after {after!r}"


@pytest.mark.parametrize("seed", range(3))
async def test_listing_of_random_trees(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    drawn = {
        "/".join(rng.choice("ab") + rng.choice(["", "-", ".", "0"]) for _ in range(rng.randint(1, 3)))
        for _ in range(25)
    }
    names = [name for name in drawn if not any(other.startswith(f"{name}/") for other in drawn)]
    await fill(store, names)
    for after in ["", *rng.sample(names, 5)]:
        assert await listed(store, "", after) == sorted(name for name in names if name > after)


async def test_dirs_are_the_next_segments(store: Store) -> None:
    await fill(store, NAMES)
    assert await store.dirs("") == ["B", "a", "b", "deltas"]
    assert await store.dirs("a/") == ["b-c", "b.c"]
    assert await store.dirs("b/") == ["c", "c.d", "cc"]
    assert await store.dirs("b/c/") == ["d"]
    assert await store.dirs("b/c/d/") == []
    assert await store.dirs("nowhere/") == []


async def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert await listed(store, "") == []
    assert await listed(store, "a/") == []
    assert await store.dirs("") == []


async def test_delete_can_be_repeated(store: Store, backend: Backend) -> None:
    await fill(store, ["a/b/c", "a/d"])
    for name in ("a/b/c", "a/b/c", "a/b", "a", "nowhere/x", "a/d/x"):
        await store.delete(name)
    assert list(backend.raw()) == ["a/d"]
    assert await listed(store, "") == ["a/d"]
    with pytest.raises(ObjectNotFound):
        await store.get("a/b/c")
    await store.put("a/b/c", b"new")
    assert await store.get("a/b/c") == b"new"


async def test_listing_goes_on_while_objects_are_deleted(store: Store) -> None:
    names = [f"d/{number:04}" for number in range(10)]
    await fill(store, names)
    seen = []
    async for info in store.objects("d/"):
        seen.append(info.name)
        await store.delete(info.name)
    assert seen == names
    assert await listed(store, "d/") == []


async def test_what_strangers_left_is_not_listed(store: Store, backend: Backend) -> None:
    backend.plant("a b", b"x")
    backend.plant("c/~0123456789abcdef", b"half")
    backend.plant("c~/d", b"x")
    await store.put("c/d", b"x")
    assert await listed(store, "") == ["c/d"]
    assert await store.dirs("") == ["c"]


# Not on ministack, which stores what it got of an interrupted upload under the checksum of the whole.
@pytest.mark.parametrize("backend", ["memory", "wrapped", "directory", "seaweedfs"], indirect=True)
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_a_cancelled_put_leaves_all_or_nothing(store: Store, backend: Backend, steps: int) -> None:
    data = random.Random(3).randbytes(300_000)
    await store.put("warm/up", b"")
    task = asyncio.create_task(store.put("a/b", data))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert backend.raw().get("a/b", data) == data
    await store.put("a/b", data)
    assert backend.raw()["a/b"] == data


async def test_the_probe_passes_and_can_be_repeated(store: Store, backend: Backend) -> None:
    await probe(store)
    await probe(store)
    assert list(backend.raw()) == [PROBE_NAME]


async def test_the_probe_uses_what_lies_there(store: Store, backend: Backend) -> None:
    await store.put(PROBE_NAME, b"by another version")
    await probe(store)
    assert backend.raw() == {PROBE_NAME: b"by another version"}


def test_the_url_has_no_credentials(store: Store) -> None:
    assert "admin" not in store.url
    assert "admin" not in repr(store)
