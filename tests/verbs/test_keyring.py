"""Who can open what: epochs that name recipients, and what a check of an identity proves."""

import dataclasses
from pathlib import Path

import pytest

from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey
from syncd.errors import ArchiveError, IdentityError, NoRestorePoint
from syncd.format.names import epoch_name
from syncd.keyring import Keyring, Proof, last_seq, name_of, prove, read_keyring
from syncd.replica import Replica, Sealing
from syncd.ship import Shipper
from syncd.store.memory import Held
from tests.support.damage import flipped
from tests.support.fakes import IDENTITY, SIGNING_KEY
from tests.verbs.bench import NAME, Bench

LATER = Identity.generate(Kem.X25519)
BOTH = Sealing(SIGNING_KEY, (IDENTITY.recipient, LATER.recipient))
VERIFY = SIGNING_KEY.verify_key


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.sql("CREATE TABLE message (body)", "INSERT INTO message VALUES (zeroblob(20000))")
    return bench


async def shipped(bench: Bench, replica: Replica, *, snapshot: bool = False, whole: bool = False) -> int:
    """Something is written, sealed and stored; returns the seq."""
    bench.sql("INSERT INTO message VALUES (1)")
    seq = await bench.capture(replica)
    shipper = Shipper(replica, "main", bench.store())
    await shipper.ship()
    if snapshot:
        await shipper.snapshot("asked for", whole=whole)
    return seq


async def keyring(bench: Bench) -> Keyring:
    return await read_keyring(bench.store(), database=NAME, verify_key=VERIFY)


async def proof(bench: Bench, identity: Identity) -> Proof:
    return await prove(bench.store(), database=NAME, verify_key=VERIFY, identity=identity)


def numbers(ring: Keyring, identity: Identity) -> list[int]:
    return [epoch.number for epoch in ring.naming(name_of(identity.recipient))]


async def end_of(bench: Bench, replica: Replica, epoch: int) -> int | None:
    assert replica.chain is not None
    return await last_seq(
        bench.store(), database=NAME, verify_key=VERIFY, generation=replica.chain.generation, epoch=epoch
    )


async def test_a_recipient_opens_the_epochs_between_its_coming_and_its_going(bench: Bench) -> None:
    ends: dict[int, int] = {}
    async with bench.replica() as replica:
        alone = replica.sealing
        for epoch, sealing in enumerate((alone, BOTH, BOTH, alone), 1):
            replica.sealing = sealing
            if epoch > 1:
                assert await replica.rotate() == epoch
            for _ in range(3):
                ends[epoch] = await shipped(bench, replica)
        ring = await keyring(bench)
        assert ring.damaged == ()
        assert numbers(ring, IDENTITY) == [1, 2, 3, 4]
        assert numbers(ring, LATER) == [2, 3]
        assert numbers(ring, Identity.generate(Kem.X25519)) == []
        assert ring.names == (name_of(IDENTITY.recipient), name_of(LATER.recipient))
        for epoch, seq in ends.items():
            assert await end_of(bench, replica, epoch) == seq
        assert await end_of(bench, replica, 99) == ends[4]
        assert await end_of(bench, replica, 0) is None


async def test_where_deltas_are_gone_a_snapshot_tells_how_far_an_epoch_reaches(bench: Bench) -> None:
    async with bench.replica() as replica:
        first = await shipped(bench, replica, snapshot=True)
        await replica.rotate()
        second = await shipped(bench, replica, snapshot=True)
        for name in [name for name in bench.held if "/deltas/" in name]:
            del bench.held[name]
        assert await end_of(bench, replica, 1) == first
        assert await end_of(bench, replica, 2) == second


async def test_a_kit_that_was_there_from_the_start_is_proven(bench: Bench) -> None:
    async with bench.replica() as replica:
        await shipped(bench, replica)
        await replica.rotate()
        seq = await shipped(bench, replica)
        assert replica.chain is not None
        fetched = await proof(bench, IDENTITY)
        assert fetched == Proof(2, 0, replica.chain.generation, 2, fetched.snapshot, fetched.delta)
        assert fetched.snapshot is not None
        assert fetched.delta is not None
        assert fetched.snapshot < fetched.delta <= seq


async def test_a_delta_is_looked_for_behind_an_older_snapshot(bench: Bench) -> None:
    async with bench.replica() as replica:
        await shipped(bench, replica)
        newest = await shipped(bench, replica, snapshot=True)
        fetched = await proof(bench, IDENTITY)
    assert fetched.snapshot == newest
    assert fetched.delta is not None
    assert fetched.delta <= newest


async def test_a_snapshot_without_deltas_is_proof_too(bench: Bench) -> None:
    async with bench.replica() as replica:
        bench.sql("INSERT INTO message VALUES (1)")
        seq = await bench.capture(replica)
        await bench.ship(replica)
        assert (await proof(bench, IDENTITY)).delta is None
        assert (await proof(bench, IDENTITY)).snapshot == seq


async def test_who_was_added_is_not_proven_until_a_whole_snapshot(bench: Bench) -> None:
    """The newest epoch names it, even the newest snapshot: but that one stands on an old pack."""
    async with bench.replica() as replica:
        await shipped(bench, replica)
        replica.sealing = BOTH
        await replica.rotate()
        await shipped(bench, replica)
        with pytest.raises(IdentityError, match="in part sealed before") as caught:
            await proof(bench, LATER)
        assert "--whole" in caught.value.hint
        await shipped(bench, replica, snapshot=True)
        with pytest.raises(IdentityError, match="in part sealed before"):
            await proof(bench, LATER)
        newest = await shipped(bench, replica, snapshot=True, whole=True)
        assert (await proof(bench, LATER)).snapshot == newest + 1  # it has a position of its own
        await shipped(bench, replica)
        fetched = await proof(bench, LATER)
        assert (fetched.epochs, fetched.others) == (1, 1)
        assert fetched.snapshot is not None
        assert fetched.delta == fetched.snapshot + 1


async def test_who_was_removed_is_told_how_far_it_reaches(bench: Bench) -> None:
    async with bench.replica() as replica:
        replica.sealing = BOTH
        await shipped(bench, replica)
        replica.sealing = dataclasses.replace(BOTH, recipients=(IDENTITY.recipient,))
        await replica.rotate()
        await shipped(bench, replica)
    with pytest.raises(
        IdentityError, match=r"the newest epoch, 2 of \w+, is not for this identity"
    ) as caught:
        await proof(bench, LATER)
    assert "opens older ones, the last is epoch 1 of" in caught.value.hint
    with pytest.raises(IdentityError) as caught:
        await proof(bench, Identity.generate(Kem.X25519))
    assert "opens no other either" in caught.value.hint


async def test_an_epoch_that_is_damaged_is_told_and_the_others_still_count(bench: Bench) -> None:
    async with bench.replica() as replica:
        await shipped(bench, replica)
        await replica.rotate()
        await shipped(bench, replica)
        assert replica.chain is not None
        name = epoch_name(replica.chain.generation, 1)
    held = bench.held[name]
    bench.held[name] = Held(flipped(held.data), held.modified_ms)
    ring = await keyring(bench)
    assert numbers(ring, IDENTITY) == [2]
    assert [error.message.split(":")[0] for error in ring.damaged] == [name]
    with pytest.raises(ArchiveError, match="signature"):
        await proof(bench, IDENTITY)


async def test_another_daemons_kit_is_not_taken_for_damage_of_ours(bench: Bench) -> None:
    async with bench.replica() as replica:
        await shipped(bench, replica)
    with pytest.raises(ArchiveError, match="of another daemon") as caught:
        await prove(
            bench.store(),
            database=NAME,
            verify_key=SigningKey.generate().verify_key,
            identity=IDENTITY,
        )
    assert "recovery kit" in caught.value.hint


async def test_an_empty_archive_proves_nothing(bench: Bench) -> None:
    with pytest.raises(NoRestorePoint, match="has no epochs"):
        await proof(bench, IDENTITY)


async def test_an_epoch_that_is_pruned_meanwhile_was_never_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.replica() as replica:
        await shipped(bench, replica)
    store = bench.store()
    get = store.get

    async def late(name: str) -> bytes:
        bench.held.pop(name, None)
        return await get(name)

    monkeypatch.setattr(store, "get", late)
    assert await read_keyring(store, database=NAME, verify_key=VERIFY) == Keyring(())
