"""Makes the golden archive. `python -m tests.format.make_golden`, once per version of the format.

The bytes differ each time (salts, keys): what was once written stays readable, that is the test.
"""

import hashlib
import random
from pathlib import Path

from syncd import archive
from syncd.envelope.identity import Argon2Params, protect
from syncd.envelope.keys import Identity, SigningKey
from syncd.envelope.kit import Kit, render_kit
from syncd.format import names
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta, PatchGroup, make_patch
from syncd.format.manifest import Manifest, PackRef
from syncd.format.runs import Run, Runs
from syncd.model import Digest
from tests.format.support import GENERATION

GOLDEN = Path(__file__).parent / "golden" / "v1"
SIZE = 512
PASSPHRASE = "golden"

Pages = dict[int, bytes]


def history() -> list[Pages]:
    """Six states: a start, a change, growth, shrinking to nothing, a new start, another change."""
    rng = random.Random(11)
    start = {number: rng.randbytes(64) * 8 for number in range(1, 8)}
    changed = {**start, 3: start[3][:100] + b"changed" + start[3][107:]}
    grown = {**changed, 2: rng.randbytes(SIZE), 8: start[2], 9: bytes(SIZE)}
    again = {1: b"A" * SIZE, 2: b"B" * SIZE}
    return [start, changed, grown, {}, again, {**again, 2: b"C" * SIZE}]


def delta(old: Pages, new: Pages, seq: int) -> Delta:
    changed = tuple(number for number, image in new.items() if old.get(number) != image)
    before = b"".join(old[number] for number in sorted(changed) if number in old)
    after = b"".join(new[number] for number in sorted(changed))
    groups = (PatchGroup(tuple(sorted(changed)), make_patch(before, after, 3)),) if changed else ()
    return Delta(
        page_size=SIZE,
        page_count=len(new),
        digest=Digest().replace(added=new.items()),
        first_ms=1_790_000_000_000 + 5000 * seq,
        last_ms=1_790_000_004_000 + 5000 * seq,
        commits=seq,
        boundary=True,
        rebase=False,
        groups=groups,
    )


def main() -> None:
    """Write the archive and the kit. Snapshot at seq 0; bundles 1 to 2 (epoch 1), 3 to 5 (epoch 2)."""
    identity, signing = Identity.generate(), SigningKey.generate()
    keys = {}
    objects: dict[str, bytes] = {}
    for number in (1, 2):
        keys[number], objects[names.epoch_name(GENERATION, number)] = archive.new_epoch(
            "chat",
            GENERATION,
            number,
            created_ms=1_790_000_000_000,
            recipients=[identity.recipient],
            signing_key=signing,
        )
    states = history()
    digests = [Digest().replace(added=state.items()) for state in states]
    refs = []
    for index, numbers in enumerate(((1, 2, 3, 4), (5, 6, 7))):
        pack_id = bytes((index + 1,)) * 16
        raw = archive.seal_pack(keys[1], pack_id, SIZE, numbers, b"".join(states[0][n] for n in numbers), 3)
        objects[names.pack_name(GENERATION, pack_id)] = raw
        refs.append(PackRef(pack_id, len(raw), hashlib.sha256(raw).digest(), len(numbers), 1))
    manifest = Manifest(
        database="chat",
        generation=GENERATION,
        seq=0,
        epoch=1,
        captured_ms=1_790_000_000_000,
        created_ms=1_790_000_001_000,
        page_size=SIZE,
        page_count=7,
        packs=tuple(refs),
        runs=Runs.of(Run(1, 4, 0, 0), Run(5, 3, 1, 0)),
    )
    objects[names.snapshot_name(GENERATION, 0)] = archive.seal_manifest(
        keys[1], signing, manifest, digests[0]
    )
    sealed = [
        archive.seal_delta(
            keys[1 if seq < 3 else 2], seq, digests[seq - 1], delta(states[seq - 1], states[seq], seq)
        )
        for seq in range(1, len(states))
    ]
    for part in (sealed[:2], sealed[2:]):
        bundle = Bundle("chat", GENERATION, 1_790_000_004_000 + 5000 * part[-1].seq, tuple(part))
        objects[names.deltas_name(GENERATION, bundle.first_seq)] = archive.sign_bundle(signing, bundle)
    for name, raw in objects.items():
        path = GOLDEN / "chat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    kit = Kit(
        database="chat",
        target_url="file:///golden",
        endpoint_url="",
        verify_key=signing.verify_key,
        recipient=identity.recipient,
        protected_identity=protect(identity, PASSPHRASE, Argon2Params(64, 1, 1)),
        created_ms=1_790_000_000_000,
    )
    (GOLDEN / "kit.txt").write_text(render_kit(kit))


if __name__ == "__main__":
    main()
