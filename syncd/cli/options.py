"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        readable=False,  # what cannot be read is told in our words, with our exit code
        help="Default: $SYNCD_CONFIG, ./syncd.toml, /etc/syncd/syncd.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
IdentityOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,
        help="The recovery kit that `syncd init` wrote, or a PEM file with an RSA key.",
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", readable=False, help="Its first line is the passphrase; asked for otherwise."
    ),
]
PassphraseCommandOption = Annotated[
    str | None,
    typer.Option(metavar="CMD", help="A program that prints the passphrase; run without a shell."),
]
IdentityCommandOption = Annotated[
    str | None,
    typer.Option(
        metavar="CMD",
        help="For a key in an HSM: undoes RSA-OAEP, base64 in and out; --identity is its public PEM file.",
    ),
]
VerifyKeyOption = Annotated[
    str | None, typer.Option(metavar="KEY", help="syncd-verify-..., where no kit or host has it.")
]
ArchiveOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="file:///path or s3://bucket/prefix; needs no configuration."),
]
EndpointOption = Annotated[str, typer.Option(metavar="URL", help="For s3:// that is not Amazon's.")]
