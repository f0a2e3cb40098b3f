"""One daemon writes an archive: who claimed it first, who comes later, and the copy of a state."""

import asyncio
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typing_extensions import override

from syncd.archive import read_claim, sign_claim
from syncd.claims import place_of, read_claims
from syncd.envelope.keys import SigningKey
from syncd.errors import ArchiveClaimed, ConflictError, StoreRefused, StoreUnavailable
from syncd.format.claim import Act, Claim
from syncd.format.names import claim_name
from syncd.log import Event
from syncd.replica import new_generation
from syncd.ship import Shipper
from syncd.store.base import Store
from syncd.store.memory import Held, MemoryStore
from syncd.store.probe import PROBE_NAME
from tests.support.fakes import SIGNING_KEY
from tests.support.faultstore import Fault, FaultStore
from tests.support.limits import LimitedStore
from tests.verbs.bench import NAME, ROW, Bench, stop


def other_state(bench: Bench) -> Path:
    """Of another daemon, as far as anybody can tell."""
    return bench.directory / "other-state"


def claims(held: dict[str, Held]) -> list[Claim]:
    """All of them, in order."""
    names = sorted(name for name in held if name.startswith("claims/"))
    return [
        read_claim(held[name].data, number=n, database=NAME, verify_key=SIGNING_KEY.verify_key)
        for n, name in enumerate(names, 1)
    ]


async def begin(bench: Bench, state: Path | None = None, store: Store | None = None) -> str:
    """Capture, ship, and the generation that this went to."""
    async with bench.replica(state=state) as replica:
        await bench.capture(replica)
        await bench.ship(replica, store)
        assert replica.chain is not None
        return replica.chain.generation


def own(name: str) -> bool:
    return "/packs/" not in name


class Shy(LimitedStore):
    """As S3 is to who may read but not list: what is not there is refused."""

    @override
    async def get(self, name: str) -> bytes:
        if name not in self.held:
            raise StoreRefused(f"get {name}: access denied")
        return await super().get(name)


STORES: list[Callable[[Bench], Store]] = [
    lambda bench: bench.store(),
    lambda bench: Shy(bench.held, bench.clock, read=own),
]


@pytest.mark.parametrize("reached", STORES)
async def test_the_first_object_is_the_claim(bench: Bench, reached: Callable[[Bench], Store]) -> None:
    generation = await begin(bench, store=reached(bench))
    assert list(bench.held)[:2] == [PROBE_NAME, claim_name(1)]
    (claim,) = claims(bench.held)
    assert (claim.act, claim.generation, claim.number) == (Act.BEGIN, generation, 1)
    assert bench.log.of(Event.TARGET_CLAIMED) == [{"target": "main", "claim": 1, "generation": generation}]
    bench.sql(ROW)
    assert await begin(bench, store=reached(bench)) == generation  # the next process
    assert len(claims(bench.held)) == 1


@pytest.mark.parametrize("reached", STORES)
async def test_a_second_daemon_is_refused_and_writes_nothing(
    bench: Bench, reached: Callable[[Bench], Store]
) -> None:
    await begin(bench)
    before = dict(bench.held)
    async with bench.replica(state=other_state(bench)) as replica:
        await bench.capture(replica)
        with pytest.raises(
            ArchiveClaimed, match=r"the daemon on .+ writes this archive since .+ \(claim 1\)"
        ) as e:
            await bench.ship(replica, reached(bench))
        assert "syncd claim chat --take-over" in e.value.hint
        assert e.value.exit_code == 20
        with pytest.raises(ArchiveClaimed):
            await Shipper(replica, "main", reached(bench)).snapshot("asked for")
    assert bench.held == before


async def test_what_is_first_captured_while_it_ships_is_claimed_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(bench)
    before = dict(bench.held)
    async with bench.replica(state=other_state(bench)) as replica:
        shipper = Shipper(replica, "main", bench.store())
        assert replica.chain is None

        async def look_back() -> None:
            await bench.capture(replica)

        monkeypatch.setattr(shipper, "_look_back", look_back)
        with pytest.raises(ArchiveClaimed):
            await shipper.ship()
    assert bench.held == before


async def test_the_other_targets_of_a_refused_daemon_go_on(bench: Bench) -> None:
    await begin(bench)
    held: dict[str, Held] = {}
    targets = (("main", "memory:"), ("spare", "memory:spare"))
    async with bench.replica(targets, state=other_state(bench)) as replica:
        await bench.capture(replica)
        run = asyncio.ensure_future(Shipper(replica, "main", bench.store()).run())
        await Shipper(replica, "spare", MemoryStore(held=held, clock=bench.clock)).ship()
        for _ in range(10_000):
            if (await replica.state.target("main")).state == "claimed":
                break
        assert not run.done()  # it waits for a take-over
        await stop(run)
        assert (await replica.state.target("spare")).state == "ok"
        assert "writes this archive since" in (await replica.state.target("main")).error
    assert [line["target"] for line in bench.log.of(Event.TARGET_CONFLICTED)] == ["main"]
    assert claim_name(1) in held
    async with bench.replica(targets, state=other_state(bench)) as replica:
        assert replica.chain is not None  # a refusal begins no generation
        assert replica.chain.seq == 0
        assert not bench.log.of(Event.GENERATION_STARTED)[2:]


@pytest.mark.parametrize("reached", STORES)
async def test_a_daemon_that_lost_its_state_claims_anew(
    bench: Bench, reached: Callable[[Bench], Store]
) -> None:
    for number in range(1, 7):
        shutil.rmtree(bench.state, ignore_errors=True)
        bench.clock.advance(1)
        generation = await begin(bench, store=reached(bench))
        *_, last = found = claims(bench.held)
        assert [claim.number for claim in found] == list(range(1, number + 1))
        assert last.generation == generation
    assert len({claim.daemon for claim in claims(bench.held)}) == 1


async def test_a_state_that_was_moved_goes_on(bench: Bench) -> None:
    generation = await begin(bench)
    moved = bench.directory / "moved"
    bench.state.rename(moved)
    bench.sql(ROW)
    assert await begin(bench, moved) == generation
    assert len(claims(bench.held)) == 1


async def test_a_state_from_before_there_were_claims_goes_on_and_claims(bench: Bench) -> None:
    generation = await begin(bench)
    del bench.held[claim_name(1)]
    async with bench.replica() as replica:
        await replica.state.claims.hold("main", None)
    bench.sql(ROW)
    assert await begin(bench) == generation
    assert [claim.generation for claim in claims(bench.held)] == [generation]


async def test_a_target_that_was_set_back_is_claimed_again(bench: Bench) -> None:
    await begin(bench)
    bench.held.clear()
    generation = await begin(bench)
    assert [claim.generation for claim in claims(bench.held)] == [generation]
    bench.held.clear()
    await begin(bench, other_state(bench))
    bench.sql(ROW)
    with pytest.raises(ArchiveClaimed):
        await begin(bench)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOSE_ACK])
@pytest.mark.parametrize("call", range(1, 9))
async def test_a_claim_whose_answer_was_lost_is_ours(bench: Bench, call: int, fault: Fault) -> None:
    """Whichever call it is, of the probe, the claim, and the first of the snapshot."""
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", FaultStore(bench.store(), {call: fault}))
        with suppress(StoreUnavailable):  # a refused create is an answer, and not lost
            await shipper.ship()
        bench.clock.advance(1)
        await shipper.ship()
    assert len(claims(bench.held)) == 1


async def test_who_may_only_create_waits_for_a_look(bench: Bench) -> None:
    store = LimitedStore(bench.held, bench.clock)
    await begin(bench, store=store)
    bench.sql(ROW)
    await begin(bench, store=store)  # its own claim is in the way of nothing
    with pytest.raises(StoreRefused, match="only a look can tell whether it is ours") as caught:
        await begin(bench, other_state(bench), store)
    assert "syncd policy writer" in caught.value.hint
    assert len(claims(bench.held)) == 1


async def test_the_claim_of_another_signing_key_is_anothers(bench: Bench) -> None:
    theirs = Claim(NAME, 1, Act.BEGIN, new_generation(1), bytes(16), "elsewhere", 1)
    bench.held[claim_name(1)] = Held(sign_claim(SigningKey.generate(), theirs), 0)
    async with bench.replica() as replica:
        await bench.capture(replica)
        for attempt in (Shipper.ship, Shipper.take_over):
            with pytest.raises(ArchiveClaimed, match="last claim is not this daemon's") as caught:
                await attempt(Shipper(replica, "main", bench.store()))
            assert "signing key" in caught.value.hint
    assert set(bench.held) == {claim_name(1), PROBE_NAME}


async def test_what_was_put_behind_a_claim_by_who_cannot_sign_stops_nobody(bench: Bench) -> None:
    await begin(bench)
    theirs = Claim(NAME, 2, Act.TAKE_OVER, new_generation(1), bytes(16), "elsewhere", 1)
    bench.held[claim_name(2)] = Held(sign_claim(SigningKey.generate(), theirs), 0)
    bench.held[claim_name(3)] = Held(b"", 0)
    bench.sql(ROW)
    await begin(bench)
    assert (await bench.restore())[1] == bench.path.read_bytes()
    found = await read_claims(bench.store(), database=NAME, verify_key=SIGNING_KEY.verify_key)
    assert [(number, isinstance(claim, Claim)) for number, claim in found] == [
        (1, True),
        (2, False),
        (3, False),
    ]


async def test_a_claim_of_a_newer_format_is_believed(bench: Bench) -> None:
    await begin(bench)
    raw = bench.held[claim_name(1)].data
    bench.held[claim_name(2)] = Held(raw[:6] + b"\2" + raw[7:], 0)
    bench.sql(ROW)
    with pytest.raises(ArchiveClaimed, match="format version 2"):
        await begin(bench)


async def test_the_copy_of_a_state_goes_on_beside(bench: Bench) -> None:
    """Both are told, and neither is stopped; see test_conflicts for what can be restored."""
    first = await begin(bench)
    copy = other_state(bench)
    bench.copy_state(copy)
    bench.sql(ROW)
    await begin(bench)
    async with bench.replica(state=copy) as replica:
        bench.sql(ROW)
        await bench.capture(replica)
        with pytest.raises(ConflictError) as caught:
            await Shipper(replica, "main", bench.store()).run()
        assert not isinstance(caught.value, ArchiveClaimed)
    bench.clock.advance(1)
    second = await begin(bench, copy)
    assert [claim.generation for claim in claims(bench.held)] == [first, second]
    bench.sql(ROW)
    async with bench.replica() as replica:
        await bench.capture(replica)
        shipper = Shipper(replica, "main", bench.store())
        await shipper.ship()
        assert replica.chain is not None
        assert replica.chain.generation == first
        target = await replica.state.target("main")
        assert target.state == "ok"
        assert re.search(rf"writes here too since .+Z: generation {second} \(claim 2\)", target.beside)
        await shipper.take_over()
        assert not (await replica.state.target("main")).beside
    (told,) = bench.log.of(Event.TARGET_SHARED)
    assert (told["claim"], told["generation"]) == (2, second)
    bench.sql(ROW)
    with pytest.raises(ArchiveClaimed):
        await begin(bench, copy)


def test_a_place_is_a_host_and_a_directory(tmp_path: Path) -> None:
    ids = tmp_path / "machine-id"
    ids.write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    place = place_of(tmp_path / "state", machine_id=ids)
    assert place == place_of(tmp_path / "link", machine_id=ids)
    assert place.host
    others = [
        place_of(tmp_path / "state2", machine_id=ids),
        place_of(tmp_path / "state", machine_id=tmp_path),
    ]
    ids.write_text("another")
    others.append(place_of(tmp_path / "state", machine_id=ids))
    assert len({place.daemon, *(each.daemon for each in others)}) == 4
    assert {len(each.daemon) for each in others} == {16}
