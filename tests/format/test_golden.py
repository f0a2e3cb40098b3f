"""Bytes that were written once stay readable, and FORMAT.md shows real ones."""

import hashlib
from functools import cache

import pytest

from syncd import archive
from syncd.envelope.epoch import EpochKey
from syncd.envelope.identity import unprotect
from syncd.envelope.kit import parse_kit
from syncd.errors import IdentityError
from syncd.format import names
from syncd.format.delta import apply_patch, check_follows
from syncd.model import Digest
from tests.format import example
from tests.format.make_golden import GOLDEN, PASSPHRASE, Pages, history
from tests.format.support import GENERATION

ROOT = GOLDEN / "chat"
KIT = parse_kit((GOLDEN / "kit.txt").read_text())


@cache
def key_for_epoch(number: int) -> EpochKey:
    return archive.open_epoch(
        (ROOT / names.epoch_name(GENERATION, number)).read_bytes(),
        database=KIT.database,
        generation=GENERATION,
        number=number,
        identity=unprotect(KIT.protected_identity, PASSPHRASE),
        verify_key=KIT.verify_key,
    )


def snapshot() -> tuple[Pages, Digest]:
    manifest = archive.read_manifest(
        (ROOT / names.snapshot_name(GENERATION, 0)).read_bytes(),
        generation=GENERATION,
        seq=0,
        database="chat",
        verify_key=KIT.verify_key,
    )
    pages: Pages = {}
    for index, ref in enumerate(manifest.packs):
        name = names.pack_name(GENERATION, ref.pack_id)
        raw = (ROOT / name).read_bytes()
        assert (len(raw), hashlib.sha256(raw).digest()) == (ref.size, ref.sha256)
        size, numbers, images = archive.open_pack(key_for_epoch, ref.pack_id, raw, name)
        for run in manifest.runs:
            if run.pack == index:
                for step in range(run.count):
                    at = run.offset + step
                    assert numbers[at] == run.first_page + step
                    pages[numbers[at]] = images[at * size : (at + 1) * size]
    return pages, archive.manifest_digest(key_for_epoch(manifest.epoch), manifest)


def test_every_state_of_the_golden_archive_is_restored() -> None:
    pages, digest = snapshot()
    states = [dict(pages)]
    for first_seq in (1, 3):
        name = names.deltas_name(GENERATION, first_seq)
        bundle = archive.read_bundle(
            (ROOT / name).read_bytes(),
            generation=GENERATION,
            first_seq=first_seq,
            database="chat",
            verify_key=KIT.verify_key,
        )
        for sealed in bundle.deltas:
            delta = archive.open_delta(key_for_epoch(sealed.epoch), sealed, digest, name)
            old_count = len(pages)
            check_follows(delta, page_size=512, page_count=old_count)
            for group in delta.groups:
                old = b"".join(pages[number] for number in group.pages if number <= old_count)
                new = apply_patch(old, group.patch, len(group.pages) * delta.page_size)
                for index, number in enumerate(group.pages):
                    pages[number] = new[index * delta.page_size : (index + 1) * delta.page_size]
            pages = {number: image for number, image in pages.items() if number <= delta.page_count}
            digest = delta.digest
            assert digest == Digest().replace(added=pages.items())
            states.append(dict(pages))
    assert states == history()


def test_the_wrong_passphrase_of_the_golden_kit_opens_nothing() -> None:
    with pytest.raises(IdentityError, match="passphrase"):
        unprotect(KIT.protected_identity, PASSPHRASE + "x")


def test_format_md_shows_the_bytes_of_today() -> None:
    text = example.FORMAT.read_text()
    assert example.BEGIN in text
    assert text == example.replaced(text), "run `python -m tests.format.example`"
