"""The identity in a recovery kit, opened with its passphrase."""

import asyncio
import sys
from pathlib import Path

import typer

from syncd.config.passphrase import read_passphrase
from syncd.envelope.identity import unprotect
from syncd.envelope.keys import Identity
from syncd.envelope.kit import Kit
from syncd.errors import IdentityError


async def open_identity(kit: Kit, passphrase_file: Path | None) -> Identity:
    """The identity; its passphrase comes from the file, or is asked for.

    Raises IdentityError, and ConfigError where the file cannot be read.
    """
    if passphrase_file is not None:
        passphrase = read_passphrase(passphrase_file)
    elif sys.stdin.isatty():
        passphrase = str(typer.prompt("Passphrase of the recovery kit", hide_input=True, err=True))
    else:
        raise IdentityError("the kit needs its passphrase", hint="give --passphrase-file FILE")
    return await asyncio.to_thread(unprotect, kit.protected_identity, passphrase)
