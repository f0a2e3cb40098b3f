"""`syncd keys generate | check`: recovery kits for more people, and proof that one opens the archive."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from syncd.cli import check_exclusive
from syncd.cli.identity import open_identity
from syncd.cli.output import print_json
from syncd.cli.places import Place, database_in, opened, verify_key_of
from syncd.clock import SystemClock
from syncd.config import Config, find, load
from syncd.config.files import NewFile, create_all
from syncd.config.passphrase import SHORT, ask_passphrase, make_passphrase, read_passphrase
from syncd.envelope.identity import Argon2Params, protect
from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit, render_kit
from syncd.errors import ConfigError, SyncdError
from syncd.keyring import Proof, prove
from syncd.state import STATE_FILE, Job, note_job

JOB = "keys check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The kit that is to be made."""

    kit: Path
    kem: str | None
    name: str | None
    target: str | None
    passphrase_file: Path | None
    passphrase_command: str | None
    config: Path | None


def run_generate(wanted: Wanted, params: Argon2Params | None = None) -> None:
    """Make an identity, write its kit, print its recipient on stdout. Raises ConfigError, WouldOverwrite."""
    check_exclusive(passphrase_file=wanted.passphrase_file, passphrase_command=wanted.passphrase_command)
    settings = load(find(wanted.config))
    name = _database(settings, wanted.name)
    target = settings.targets[_target(settings, name, wanted.target)]
    verify_key = verify_key_of(settings, None)
    passphrase, made_up = _passphrase(wanted)
    identity = Identity.generate(_kem(wanted.kem))
    kit = Kit(
        database=name,
        target_url=target.url,
        endpoint_url=target.endpoint_url,
        verify_key=verify_key,
        recipient=identity.recipient,
        protected_identity=protect(identity, passphrase, params),
        created_ms=SystemClock().now_ms(),
    )
    create_all([NewFile(wanted.kit.absolute(), render_kit(kit).encode(), 0o600)])
    typer.echo(identity.recipient.to_text())
    _say(f"recovery kit    {wanted.kit}")
    if made_up:
        _say(f"its passphrase, shown this once:\n\n    {passphrase}\n")
    if not identity.post_quantum:
        _say("note: what is sealed for it does not stay closed to a later quantum computer")
    _say("Give the kit to its holder and remove it from this machine. It opens nothing until its recipient,")
    _say("the line above, is in the configuration: syncd keys add RECIPIENT")


def run_check(place: Place, *, as_json: bool) -> None:
    """Prove for each target that the identity opens it. Raises the first SyncdError met, after all."""
    results = asyncio.run(_check(place))
    if as_json:
        print_json([_as_json(where, result) for where, result in results])
    else:
        for where, result in results:
            typer.echo(f"{where}: {_text(result)}")
    for _, result in results:
        if isinstance(result, SyncdError):
            raise result


async def _check(place: Place) -> list[tuple[str, Proof | SyncdError]]:
    kit = place.kit()
    settings = place.settings()
    verify_key = verify_key_of(settings, kit, place.verify_key)
    identity = await open_identity(place, kit)
    results: list[tuple[str, Proof | SyncdError]] = []
    for target in [None] if settings is None else place.targets(settings):
        try:
            async with opened(place, settings, kit, target) as store:
                result: Proof | SyncdError = await prove(
                    store, database=place.name, verify_key=verify_key, identity=identity
                )
        except SyncdError as e:
            result = e
        results.append((target or "archive", result))
    if settings is not None and place.name is not None:
        _note(settings, place.name, identity, results)
    return results


def _note(
    settings: Config, name: str, identity: Identity, results: list[tuple[str, Proof | SyncdError]]
) -> None:
    """For `status`: when a kit was last shown to open the archive, and which."""
    failed = [f"{where}: {result.message}" for where, result in results if isinstance(result, SyncdError)]
    who = f"{identity.recipient.kem.label} {identity.recipient.fingerprint.hex()}"
    where = ", ".join(target for target, _ in results)
    detail = "; ".join(failed) or f"{who} opens {where}"
    job = Job(JOB, SystemClock().now_ms(), not failed, detail)
    note_job(settings.state_of(name) / STATE_FILE, job)


def _text(result: Proof | SyncdError) -> str:
    if isinstance(result, SyncdError):
        return f"not proven: {result.message}"
    text = f"opens {_count(result.epochs)}, the newest ({result.newest_epoch} of {result.generation}) too"
    text += f", and the snapshot at seq {result.snapshot}" if result.snapshot is not None else ""
    text += f", and delta {result.delta}" if result.delta is not None else "; no delta follows a snapshot yet"
    if result.others:
        text += f"\n  {_count(result.others)} not for it, from before it was added"
    return text


def _count(epochs: int) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def _as_json(where: str, result: Proof | SyncdError) -> dict[str, Any]:
    if isinstance(result, SyncdError):
        return {"target": where, "proven": False, "error": str(result)}
    return {
        "target": where,
        "proven": True,
        "error": "",
        "generation": result.generation,
        "newest_epoch": result.newest_epoch,
        "epochs": result.epochs,
        "others": result.others,
        "snapshot": result.snapshot,
        "delta": result.delta,
    }


def _database(settings: Config, name: str | None) -> str:
    if name is None:
        if len(settings.databases) > 1:
            raise ConfigError("which database?", hint=f"give --name: {', '.join(settings.databases)}")
        return next(iter(settings.databases))
    database_in(settings, name)
    return name


def _target(settings: Config, name: str, target: str | None) -> str:
    names = settings.targets_of(name)
    if target is not None and target not in names:
        raise ConfigError(f"{name} has no target {target!r}", hint=f"it has {', '.join(names)}")
    return target or names[0]


def _kem(label: str | None) -> Kem | None:
    if label is None:
        return None
    for kem in (Kem.MLKEM768_X25519, Kem.X25519):
        if re.sub(r"[-_+]", "", label.lower()) == kem.label:
            return kem
    raise ConfigError(
        f"--kem {label}: no such kind", hint="mlkem768x25519 (the default) or x25519; RSA keys are your PKI's"
    )


def _passphrase(wanted: Wanted) -> tuple[str, bool]:
    """The passphrase, and whether it was made here."""
    if wanted.passphrase_command is not None:
        passphrase = ask_passphrase(wanted.passphrase_command)
    elif wanted.passphrase_file is not None:
        passphrase = read_passphrase(wanted.passphrase_file)
    else:
        return make_passphrase(), True
    if len(passphrase) < SHORT:
        _say(f"note: the passphrase is shorter than {SHORT} characters: it can be guessed")
    return passphrase, False


def _say(text: str) -> None:
    """What is for people goes to stderr: stdout has the recipient alone."""
    typer.echo(text, err=True)
