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
    typer.Option(metavar="FILE", readable=False, help="The recovery kit that `syncd init` wrote."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", readable=False, help="Its first line is the passphrase; asked for otherwise."
    ),
]
ArchiveOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="file:///path or s3://bucket/prefix; needs no configuration."),
]
EndpointOption = Annotated[str, typer.Option(metavar="URL", help="For s3:// that is not Amazon's.")]
