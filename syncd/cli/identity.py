"""The identity that a user names, opened: in a recovery kit, in a PEM file, or in an HSM.

- A passphrase comes from --passphrase-file, --passphrase-command or $SYNCD_PASSPHRASE_FILE; else it is
  asked for. It is never an argument.
- With --identity-command the PEM file has the public key, or a certificate, and says whose wraps to open.
"""

import asyncio
import base64
import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

import typer

from syncd.cli import check_exclusive
from syncd.cli.places import Place
from syncd.config.kits import read_file
from syncd.config.passphrase import ask_passphrase, read_passphrase
from syncd.config.programs import run_program
from syncd.envelope import pem
from syncd.envelope.identity import unprotect
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit
from syncd.errors import ConfigError, IdentityError

VARIABLE: Final = "SYNCD_PASSPHRASE_FILE"


async def open_identity(place: Place, kit: Kit | None) -> Identity:
    """The identity of the kit, or where there is none, of the PEM file.

    Raises IdentityError, and ConfigError for files and programs that cannot be used.
    """
    check_exclusive(passphrase_file=place.passphrase_file, passphrase_command=place.passphrase_command)
    if kit is not None:
        if place.identity_command is not None:
            raise ConfigError(
                "--identity-command does not go with a recovery kit",
                hint="--identity names the PEM file of the key that is in the HSM",
            )
        return await asyncio.to_thread(unprotect, kit.protected_identity, _passphrase(place, "recovery kit"))
    if place.identity is None:
        raise IdentityError("which identity?", hint="give --identity kit.txt")
    raw = read_file(place.identity)
    if place.identity_command is not None:
        public = pem.read_public(raw).recipient
        return pem.HsmIdentity(public=public, decrypt=partial(_ask_hsm, place.identity_command))
    passphrase = _passphrase(place, "private key") if pem.is_encrypted(raw) else None
    return await asyncio.to_thread(pem.read_private, raw, passphrase)


def _passphrase(place: Place, what: str) -> str:
    if place.passphrase_command is not None:
        return ask_passphrase(place.passphrase_command)
    if (file := place.passphrase_file or os.environ.get(VARIABLE)) is not None:
        return read_passphrase(Path(file))
    if sys.stdin.isatty():
        return str(typer.prompt(f"Passphrase of the {what}", hide_input=True, err=True))
    raise IdentityError(f"the {what} needs its passphrase", hint="give --passphrase-file FILE")


def _ask_hsm(command: str, ciphertext: bytes) -> bytes:
    printed = run_program("--identity-command", command, base64.b64encode(ciphertext) + b"\n")
    try:
        return base64.b64decode(b"".join(printed.split()), validate=True)
    except ValueError:
        # Without a cause: nothing of the answer is shown.
        raise IdentityError("--identity-command: what it printed is not base64") from None
