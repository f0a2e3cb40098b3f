"""The way back, many times: positions of an archive restored in this process, each checked by its digest.

- Objects are immutable, so each is fetched once; that none is missing or damaged shows just the same.
- A position that cannot be restored is a sentence in the answer, not an end of the campaign.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from typing_extensions import override

from syncd.contents import plan_restore, read_contents
from syncd.envelope.identity import unprotect
from syncd.envelope.kit import parse_kit
from syncd.errors import SyncdError
from syncd.restore import Restore, Restored
from syncd.store import open_store, prefixed
from syncd.store.base import Store
from syncd.store.wrap import PrefixStore
from tests.campaigns.rig import NAME, Rig


class Silent:
    """A restore's progress that nobody looks at."""

    def begin(self, total_bytes: int) -> None:
        """See restore.Progress."""

    def advance(self, fetched_bytes: int) -> None:
        """See restore.Progress."""


class Remembering(PrefixStore):
    """Asks for every object once."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner, "")
        self._known: dict[str, bytes] = {}

    @override
    async def get(self, name: str) -> bytes:
        if name not in self._known:
            self._known[name] = await super().get(name)
        return self._known[name]


def restore_each(
    rig: Rig, positions: Iterable[tuple[str, int]], to: Path, look: Callable[[Restored], list[str]]
) -> list[str]:
    """Restore each (generation, seq) to `to`, let `look` judge it; what is wrong, as sentences."""
    return asyncio.run(_restore_each(rig, list(positions), to, look))


async def _restore_each(
    rig: Rig, positions: list[tuple[str, int]], to: Path, look: Callable[[Restored], list[str]]
) -> list[str]:
    kit = parse_kit(rig.kit.read_text())
    identity = unprotect(kit.protected_identity, rig.passphrase_file.read_text().strip())
    wrong: list[str] = []
    opened = open_store(rig.url, endpoint_url=rig.endpoint_url)
    try:
        store = Remembering(prefixed(opened, f"{NAME}/"))
        contents = await read_contents(store, database=NAME, verify_key=kit.verify_key)
        for generation, seq in positions:
            restore = Restore(
                store, identity=identity, verify_key=kit.verify_key, database=NAME, progress=Silent()
            )
            try:
                plan = plan_restore(contents, seq=seq, generation=generation)
                restored = await restore.run(plan, to, force=True)
            except SyncdError as e:
                wrong.append(f"{generation} seq {seq} was shown as stored, but: {e}")
                continue
            wrong += [f"{generation} seq {seq}: {problem}" for problem in look(restored)]
    finally:
        await opened.close()
    return wrong
