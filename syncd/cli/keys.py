"""`syncd keys`: who can restore. Thin, as `syncd.cli` is."""

from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.options import (
    ArchiveOption,
    ConfigOption,
    EndpointOption,
    IdentityCommandOption,
    IdentityOption,
    JsonOption,
    PassphraseCommandOption,
    PassphraseOption,
    VerifyKeyOption,
)

app = typer.Typer(no_args_is_help=True, help="Who can restore: list, add and remove recipients, check kits.")


@app.command("list")
def list_command(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Every recipient: whether it is configured, and which epochs it opens, since when."""
    from syncd.cli.recipients import run_list  # noqa: PLC0415

    run_list(config, as_json=as_json)


@app.command("generate")
def generate_command(
    *,
    kit: Annotated[Path, typer.Option(metavar="FILE", readable=False, help="The recovery kit to write.")],
    kem: Annotated[
        str | None, typer.Option(metavar="KIND", help="mlkem768x25519 (the default) or x25519.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The database that the kit names.")] = None,
    target: Annotated[
        str | None, typer.Option(help="The target that the kit names; default: the first.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    passphrase_command: PassphraseCommandOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a recovery kit for one more person, and print its recipient. Without a passphrase, makes one."""
    from syncd.cli.kits import Wanted, run_generate  # noqa: PLC0415

    run_generate(
        Wanted(
            kit=kit,
            kem=kem,
            name=name,
            target=target,
            passphrase_file=passphrase_file,
            passphrase_command=passphrase_command,
            config=config,
        )
    )


@app.command("add")
def add_command(
    recipient: Annotated[
        str, typer.Argument(metavar="RECIPIENT", help="syncd-recipient-..., or a PEM file with an RSA key.")
    ],
    config: ConfigOption = None,
) -> None:
    """Let somebody restore what is sealed from now on.

    A PEM file stays where it is, and is read from there.
    """
    from syncd.cli.recipients import run_add  # noqa: PLC0415

    run_add(config, recipient)


@app.command("remove")
def remove_command(
    recipient: Annotated[
        str,
        typer.Argument(metavar="RECIPIENT", help="Its fingerprint (8 digits will do), text, or PEM file."),
    ],
    config: ConfigOption = None,
) -> None:
    """Seal no more for somebody. Says what the removed key can still open."""
    from syncd.cli.recipients import run_remove  # noqa: PLC0415

    run_remove(config, recipient)


@app.command("rotate")
def rotate_command(config: ConfigOption = None) -> None:
    """Begin a new epoch now, as every start and every midnight (UTC) do."""
    from syncd.cli.recipients import run_rotate  # noqa: PLC0415

    run_rotate(config)


@app.command("check")
def check_command(
    name: Annotated[str | None, typer.Argument(help="The database's name in the configuration.")] = None,
    *,
    identity: IdentityOption,
    passphrase_file: PassphraseOption = None,
    passphrase_command: PassphraseCommandOption = None,
    identity_command: IdentityCommandOption = None,
    verify_key: VerifyKeyOption = None,
    source: Annotated[str | None, typer.Option("--from", metavar="TARGET", help="A target's name.")] = None,
    archive: ArchiveOption = None,
    endpoint_url: EndpointOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Prove that a recovery kit opens this archive, without restoring.

    Opens every epoch that is for it, the digest of the newest snapshot, and a delta.
    """
    from syncd.cli.kits import run_check  # noqa: PLC0415
    from syncd.cli.places import Place  # noqa: PLC0415

    place = Place(
        name,
        source,
        archive,
        endpoint_url,
        identity,
        config,
        verify_key=verify_key,
        passphrase_file=passphrase_file,
        passphrase_command=passphrase_command,
        identity_command=identity_command,
    )
    run_check(place, as_json=as_json)
