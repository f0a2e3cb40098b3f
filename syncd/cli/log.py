"""`syncd log`."""

import asyncio
from typing import Any

import typer

from syncd.archive import read_bundle
from syncd.cli.output import print_json, print_table, size_text
from syncd.cli.places import Place, contents_of, opened, verify_key_of
from syncd.contents import Contents
from syncd.envelope.keys import VerifyKey
from syncd.errors import ArchiveError
from syncd.format.names import deltas_name
from syncd.heads import Heads, Newest
from syncd.model import format_time
from syncd.policy.plan import BundleEntry
from syncd.store.base import Store


def run_log(place: Place, *, as_json: bool) -> None:
    """Print what can be restored. Raises SyncdError."""
    rows = asyncio.run(_rows(place))
    if as_json:
        print_json(rows)
        return
    for generation in rows:
        print_table(
            f"generation {generation['generation']}{', closed' if generation['closed'] else ''}",
            ("what", "seq", "time", "size", "objects"),
            [
                (
                    entry["kind"],
                    _range(str(entry["first_seq"]), str(entry["last_seq"])),
                    _range(entry["first_time"], entry["last_time"]),
                    size_text(entry["bytes"]),
                    str(entry["objects"]),
                )
                for entry in generation["entries"]
            ],
        )
        if generation["head"]:
            typer.echo(f"head: {generation['head']}")
        if generation["whole_until"]:
            typer.echo(f"known to be whole until: {generation['whole_until']}")


async def _rows(place: Place) -> list[dict[str, Any]]:
    kit = place.kit()
    settings = place.settings()
    target = place.targets(settings)[0] if settings else None
    verify_key = verify_key_of(settings, kit, place.verify_key)
    async with opened(place, settings, kit, target) as store:
        heads = Heads(store, database=place.name, verify_key=verify_key)
        contents = await contents_of(store, place.name, kit, verify_key)
        rows: list[dict[str, Any]] = []
        newest: Newest | None = None
        for generation in contents.generations:
            newest = await heads.newest(generation)
            entries = await _entries(store, contents, generation, verify_key)
            rows.append(
                {
                    "generation": generation,
                    "closed": generation in contents.closed,
                    "head": str(newest.head) if newest else None,
                    "whole_until": None,
                    "entries": entries,
                }
            )
        rows[-1]["whole_until"] = await _whole_until(heads, newest)
        return rows


async def _whole_until(heads: Heads, newest: Newest | None) -> str | None:
    """By a heartbeat, or the newest change. That it was further is told, and the rest shown all the same."""
    try:
        return format_time(await heads.current(newest)) if newest else None
    except ArchiveError as e:
        typer.echo(f"syncd: {e}", err=True)
        return None


async def _entries(
    store: Store, contents: Contents, generation: str, verify_key: VerifyKey
) -> list[dict[str, Any]]:
    """Snapshots, and between them the ranges of deltas, in order of seq."""
    entries: list[dict[str, Any]] = []
    bundles = sorted((b for b in contents.bundles if b.generation == generation), key=lambda b: b.first_seq)
    snapshots = sorted((s for s in contents.snapshots if s.generation == generation), key=lambda s: s.seq)
    for i, snapshot in enumerate(snapshots):
        time = format_time(snapshot.captured_ms)
        entries.append(
            {
                "kind": "snapshot",
                "first_seq": snapshot.seq,
                "last_seq": snapshot.seq,
                "first_time": time,
                "last_time": time,
                "bytes": snapshot.bytes,
                "objects": 1,
            }
        )
        until = snapshots[i + 1].seq if i + 1 < len(snapshots) else None
        mine = [b for b in bundles if b.first_seq > snapshot.seq and (until is None or b.first_seq <= until)]
        if mine:
            entries.append(await _deltas(store, mine, verify_key))
    return entries


async def _deltas(store: Store, bundles: list[BundleEntry], verify_key: VerifyKey) -> dict[str, Any]:
    """One range; only its last object is fetched, to see where it ends."""
    last = bundles[-1]
    end = read_bundle(
        await store.get(deltas_name(last.generation, last.first_seq)),
        generation=last.generation,
        first_seq=last.first_seq,
        database=None,
        verify_key=verify_key,
    ).last_seq
    return {
        "kind": "deltas",
        "first_seq": bundles[0].first_seq,
        "last_seq": end,
        "first_time": format_time(bundles[0].stored_ms),
        "last_time": format_time(last.stored_ms),
        "bytes": sum(b.bytes for b in bundles),
        "objects": len(bundles),
    }


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} .. {last}"
