"""`syncd keys list | add | remove | rotate`: who is in the configuration, and who can open what.

- The configuration is changed in place, its comments kept; a running daemon is asked to read it again,
  which begins a new epoch.
- A target that cannot be reached holds nothing back: it is told that nobody could look there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from syncd.cli.output import print_json
from syncd.cli.places import Place, opened, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config, check_unwritable, find, load
from syncd.config.edit import replace, with_recipients
from syncd.config.recipients import Listed, expired, read_recipient, read_recipients
from syncd.control import ask
from syncd.envelope.kem import Kem
from syncd.errors import ConfigError, SyncdError
from syncd.keyring import Epoch, Keyring, Name, last_seq, name_of, read_keyring
from syncd.model import format_time

_LEAST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class _Look:
    """The keyring of one database at one target, or why nobody could look; `ends` once it was asked for."""

    database: str
    target: str
    keyring: Keyring
    error: str = ""


def run_list(config: Path | None, *, as_json: bool) -> None:
    """Print every recipient, and which epochs it opens where. Raises SyncdError."""
    settings = load(find(config))
    listed = read_recipients(settings.keys)
    looks = asyncio.run(_looks(settings))
    texts = {name_of(each.recipient): each.text for each in listed}
    names = dict.fromkeys([*texts, *(name for look in looks for name in look.keyring.names)])
    if as_json:
        print_json([_as_json(name, texts, looks) for name in names])
        return
    for name in names:
        typer.echo(f"{_kind(name)} {name[1].hex()}, {_whose(name, texts)}")
        for line in _opens(name, looks):
            typer.echo(f"  {line}")
    _tell_errors(looks)
    for sentence in expired(listed, SystemClock().now_ms()):
        typer.echo(f"note: {sentence}", err=True)


def run_add(config: Path | None, given: str) -> None:
    """Add a recipient, as text or PEM file, to the configuration. Raises ConfigError."""
    path = find(config)
    settings = load(path)
    added = read_recipient(given if given.startswith("syncd-") else str(Path(given).absolute()))
    for each in read_recipients(settings.keys):
        if each.recipient == added.recipient:
            raise ConfigError(f"{_label(added)} is in {path} already")
    _write(path, [*settings.keys.recipients, added.text])
    typer.echo(f"added {_label(added)} to {path}")
    typer.echo(
        "it opens what is sealed from the next epoch on, and nothing that was sealed before; it can restore"
    )
    typer.echo("once all pages are sealed anew: wait for the next change, then syncd snapshot NAME --whole")
    if not added.recipient.post_quantum:
        typer.echo("what is sealed for it does not stay closed to a later quantum computer")
    for sentence in expired((added,), SystemClock().now_ms()):
        typer.echo(f"note: {sentence}", err=True)
    _reload(settings)


def run_remove(config: Path | None, who: str) -> None:
    """Remove a recipient from the configuration, and say what its key still opens. Raises ConfigError."""
    path = find(config)
    settings = load(path)
    listed = read_recipients(settings.keys)
    gone = _find(listed, who)
    if len(listed) == 1:
        raise ConfigError(
            f"{_label(gone)} is the last recipient: nobody could restore what is sealed without it",
            hint="add another one first: syncd keys add RECIPIENT",
        )
    looks = asyncio.run(_looks(settings))
    reach = asyncio.run(_reach(settings, looks, name_of(gone.recipient)))
    _write(path, [text for text in settings.keys.recipients if text != gone.text])
    typer.echo(f"removed {_label(gone)} from {path}; it is not in the next epoch")
    if reach:
        typer.echo("what its holder can still open, wherever a copy is, and here while retention keeps it:")
        for line in reach:
            typer.echo(f"  {line}")
        typer.echo(
            "pages that do not change stay in packs of these epochs; once the next epoch has begun,"
            " `syncd snapshot NAME --whole` seals them anew"
        )
    else:
        typer.echo("no epoch that could be looked at names it")
    _tell_errors(looks)
    _reload(settings)


def run_rotate(config: Path | None) -> None:
    """Have the daemon begin a new epoch of each database. Raises SyncdError."""
    answer: Any = ask(load(find(config)).state_dir, {"command": "rotate"})
    if answer is None:
        typer.echo("no daemon runs; it begins a new epoch when it starts")
        return
    if not answer:
        typer.echo("nothing is sealed yet; the first epoch begins with the first change")
    for each in answer:
        typer.echo(f"{each['database']}: epoch {each['epoch']} begins")


def _place(database: str) -> Place:
    return Place(database, None, None, "", None, None)


def _write(path: Path, recipients: Sequence[str]) -> None:
    check_unwritable(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from e
    replace(path, with_recipients(text, recipients))


def _reload(settings: Config) -> None:
    try:
        answer = ask(settings.state_dir, {"command": "reload"})
    except SyncdError as e:
        raise ConfigError(
            f"the file is changed, but the daemon goes on with what it had: {e.message}", hint=e.hint
        ) from e
    if answer is None:
        typer.echo("no daemon runs; the next epoch begins when it starts")
    else:
        typer.echo("the daemon reads it again now, and begins a new epoch with the next change")


def _find(listed: Sequence[Listed], who: str) -> Listed:
    digits = who.lower().replace(":", "")
    found = [
        each
        for each in listed
        if who in {each.text, each.recipient.to_text()}
        or (len(digits) >= _LEAST_DIGITS and each.recipient.fingerprint.hex().startswith(digits))
        or str(Path(who).absolute()) == each.text
    ]
    if len(found) != 1:
        raise ConfigError(
            "there is no such recipient in the configuration" if not found else "several recipients fit",
            hint=f"it has {', '.join(_label(each) for each in listed)}",
        )
    return found[0]


async def _looks(settings: Config) -> list[_Look]:
    verify_key = verify_key_of(settings, None)
    looks: list[_Look] = []
    for database in settings.databases:
        for target in settings.targets_of(database):
            try:
                async with opened(_place(database), settings, None, target) as store:
                    keyring = await read_keyring(store, database=database, verify_key=verify_key)
                looks.append(_Look(database, target, keyring))
            except SyncdError as e:
                looks.append(_Look(database, target, Keyring(()), e.message))
    return looks


async def _reach(settings: Config, looks: Sequence[_Look], name: Name) -> list[str]:
    """What a recipient can open, a line for each generation at each target."""
    verify_key = verify_key_of(settings, None)
    lines: list[str] = []
    for look in looks:
        for generation, numbers in _by_generation(look.keyring.naming(name)):
            line = f"{look.database} at {look.target}: {_ranges(numbers)} of {generation}"
            try:
                async with opened(_place(look.database), settings, None, look.target) as store:
                    seq = await last_seq(
                        store,
                        database=look.database,
                        verify_key=verify_key,
                        generation=generation,
                        epoch=numbers[-1],
                    )
                line += "" if seq is None else f", positions up to seq {seq}"
            except SyncdError as e:
                line += f" (up to which position, nobody could see: {e.message})"
            lines.append(line)
    return lines


def _whose(name: Name, texts: dict[Name, str]) -> str:
    if name not in texts:
        return "not in the configuration"
    return f"from {texts[name]}" if texts[name].startswith("/") else "in the configuration"


def _opens(name: Name, looks: Sequence[_Look]) -> list[str]:
    """For each target: which epochs, since when, and whether the newest one is among them."""
    lines: list[str] = []
    for look in looks:
        epochs = look.keyring.naming(name)
        if epochs:
            opens = ", ".join(f"{_ranges(numbers)} of {g}" for g, numbers in _by_generation(epochs))
            newest = "the newest too" if epochs[-1] == look.keyring.epochs[-1] else "not the newest"
            since = format_time(epochs[0].created_ms)
            lines.append(f"{look.database} at {look.target}: {opens}, since {since}, {newest}")
        elif not look.error:
            lines.append(f"{look.database} at {look.target}: opens nothing yet")
    return lines


def _as_json(name: Name, texts: dict[Name, str], looks: Sequence[_Look]) -> dict[str, Any]:
    return {
        "kind": _kind(name),
        "fingerprint": name[1].hex(),
        "configured": texts.get(name),
        "opens": [
            {
                "database": look.database,
                "target": look.target,
                "error": look.error,
                "epochs": [
                    {"generation": e.generation, "number": e.number, "created_at": format_time(e.created_ms)}
                    for e in look.keyring.naming(name)
                ],
                "newest": look.keyring.epochs[-1:] == look.keyring.naming(name)[-1:] != (),
            }
            for look in looks
        ],
    }


def _tell_errors(looks: Sequence[_Look]) -> None:
    for look in looks:
        where = f"{look.database} at {look.target}"
        for message in [*([look.error] if look.error else []), *(e.message for e in look.keyring.damaged)]:
            typer.echo(f"note: {where}: {message}", err=True)


def _by_generation(epochs: Sequence[Epoch]) -> list[tuple[str, list[int]]]:
    return [(key, [e.number for e in group]) for key, group in groupby(epochs, lambda e: e.generation)]


def _ranges(numbers: Sequence[int]) -> str:
    """Epoch 7; epochs 1 to 7, 9."""
    parts: list[str] = []
    start = numbers[0]
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if following != number + 1:
            parts.append(str(start) if start == number else f"{start} to {number}")
            start = following if following is not None else start
    return ("epoch " if len(numbers) == 1 else "epochs ") + ", ".join(parts)


def _label(listed: Listed) -> str:
    return f"{listed.recipient.kem.label} {listed.recipient.fingerprint.hex()}"


def _kind(name: Name) -> str:
    try:
        return Kem(name[0]).label
    except ValueError:
        return f"kind {name[0]}"
