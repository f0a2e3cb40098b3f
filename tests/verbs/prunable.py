"""An archive in memory with real manifests, bundles by name, and days that pass."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from syncd.archive import new_epoch, seal_manifest, sign_bundle
from syncd.envelope.epoch import EpochKey
from syncd.format.bundle import Bundle
from syncd.format.delta import SealedDelta
from syncd.format.manifest import Manifest, PackRef
from syncd.format.names import deltas_name, epoch_name, generation_text, pack_name, snapshot_name
from syncd.format.runs import Run, Runs
from syncd.model import Digest
from syncd.policy.retention import Retention
from syncd.prune import Report, prune
from syncd.store.base import Store
from syncd.store.memory import Held, MemoryStore
from tests.support.fakes import IDENTITY, SIGNING_KEY, FakeClock, Recorder

DAY = 86_400_000
POLICY = Retention(pitr_ms=2 * DAY, daily=3, max_share=1.0)
VERIFY_KEY = SIGNING_KEY.verify_key


@dataclass
class Archive:
    """`day` adds a snapshot, its pack beside a common one, and two bundles of five deltas."""

    held: dict[str, Held] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    log: Recorder = field(default_factory=Recorder)
    generation: str = ""
    seq: int = 0
    epoch: int = 0
    pack_epochs: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new generation."""
        self.generation = generation_text(self.clock.now_ms().to_bytes(6) + bytes(10))
        self.seq = self.epoch = 0
        self.rotate()
        self.add_pack(0)

    def rotate(self) -> None:
        """A new epoch."""
        self.epoch += 1
        self.key, epoch = new_epoch(
            "chat",
            self.generation,
            self.epoch,
            created_ms=self.clock.now_ms(),
            recipients=[IDENTITY.recipient],
            signing_key=SIGNING_KEY,
        )
        self.add(epoch_name(self.generation, self.epoch), epoch)

    def store(self) -> Store:
        return MemoryStore(held=self.held, clock=self.clock)

    def add(self, name: str, data: bytes) -> None:
        self.held[name] = Held(data, self.clock.now_ms())

    def add_pack(self, number: int) -> str:
        name = pack_name(self.generation, number.to_bytes(16))
        self.add(name, b"pack %d" % number)
        self.pack_epochs[name] = self.epoch
        return name

    def add_snapshot(self, packs: Iterable[int], key: EpochKey | None = None) -> str:
        raws = {number: b"pack %d" % number for number in packs}
        manifest = Manifest(
            database="chat",
            generation=self.generation,
            seq=self.seq,
            epoch=self.epoch,
            captured_ms=self.clock.now_ms(),
            created_ms=self.clock.now_ms(),
            page_size=512,
            page_count=len(raws),
            packs=tuple(
                PackRef(
                    number.to_bytes(16), len(raw), hashlib.sha256(raw).digest(), 1, self._epoch_of(number)
                )
                for number, raw in raws.items()
            ),
            runs=Runs.of(*(Run(index + 1, 1, index, 0) for index in range(len(raws)))),
        )
        name = snapshot_name(self.generation, self.seq)
        self.add(name, seal_manifest(key or self.key, SIGNING_KEY, manifest, Digest()))
        return name

    def _epoch_of(self, number: int) -> int:
        return self.pack_epochs[pack_name(self.generation, number.to_bytes(16))]

    def day(self) -> None:
        """A day passes."""
        self.add_pack(self.seq + 1)
        self.add_snapshot((0, self.seq + 1))
        for _ in range(2):
            self.clock.advance(43_200)
            deltas = tuple(SealedDelta(self.seq + n, self.epoch, b"sealed") for n in range(1, 6))
            bundle = Bundle("chat", self.generation, self.clock.now_ms(), deltas)
            self.add(deltas_name(self.generation, self.seq + 1), sign_bundle(SIGNING_KEY, bundle))
            self.seq += 5

    def days(self, count: int) -> None:
        for _ in range(count):
            self.day()

    async def prune(
        self, store: Store | None = None, *, policy: Retention = POLICY, dry_run: bool = False
    ) -> Report:
        return await prune(
            store or self.store(),
            database="chat",
            retention=policy,
            grace_ms=DAY,
            clock=self.clock,
            log=self.log,
            verify_key=VERIFY_KEY,
            dry_run=dry_run,
        )

    def names(self, part: str) -> list[str]:
        return sorted(name for name in self.held if f"/{part}/" in f"/{name}")

    def numbers(self, part: str) -> list[int]:
        return [int(name.rpartition("/")[2], 16) for name in self.names(part)]
