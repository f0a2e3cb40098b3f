"""The command line. Thin: parse, call, print; heavy modules are imported by the command that needs them.

Commands are named `*_command`, since `syncd.cli.init` and its like are the modules that do the work.
Exit codes are those of syncd.errors: 0 done, 2 wrong usage, 10 and up one for each class of error.
"""

import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from syncd.cli import access, keeping, keys
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
from syncd.errors import ConfigError, SyncdError

_EXIT_CODES: Final = """
Exit codes: 0 done; 1 defect, difference or failure; 2 usage; 3 a doctor's warning; 10 configuration; 11
database cannot be read; 12 identity or passphrase; 13 store unreachable; 14 store refuses or is unfit; 15
archive damaged; 16 no such restore point; 17 file exists; 18 newer format; 19 syncd's own state; 20
conflict; 21 clocks disagree; 130 interrupted.
"""

app = typer.Typer(
    name="syncd",
    help="Keeps the SQLite message store of a chat application safe: small sealed deltas to object storage,"
    " any moment restored byte for byte.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from syncd import __version__  # noqa: PLC0415

        typer.echo(f"syncd {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("demo")
def demo_command(
    seconds: Annotated[
        float, typer.Option(min=4, max=3600, help="How long the chat application writes.")
    ] = 15,
    rate: Annotated[float, typer.Option(min=1, max=5000, help="Messages a second.")] = 50,
) -> None:
    """Show everything at once: a chat, a backup, a kill, a restore. No cloud, no root, leaves nothing."""
    from syncd.cli.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(0 if run_demo(seconds=seconds, rate=rate) else 1)


@app.command("init")
def init_command(
    config: Annotated[
        Path, typer.Option(metavar="FILE", readable=False, help="The configuration to write.")
    ] = Path("syncd.toml"),
    name: Annotated[str | None, typer.Option(help="What to call the database, e.g. chat.")] = None,
    database: Annotated[
        Path | None, typer.Option(metavar="PATH", readable=False, help="The application's database.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="URL", help="file:///path or s3://bucket/prefix.")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="For s3:// that is not Amazon's.")
    ] = None,
    kit: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="The recovery kit to write.")
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", readable=False, help="Its first line protects the kit."),
    ] = None,
) -> None:
    """Write a configuration, the daemon's key and a recovery kit. Asks for what no option gives."""
    from syncd.cli.init import init as run_init  # noqa: PLC0415

    run_init(
        config,
        name=name,
        database=database,
        target=target,
        endpoint_url=endpoint_url,
        kit=kit,
        passphrase_file=passphrase_file,
    )


@app.command("run")
def run_command(
    config: ConfigOption = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Capture, ship everything, exit.")] = False,
) -> None:
    """The daemon; with --once a single pass, for cron or a systemd timer."""
    from syncd.cli.run import run_daemon  # noqa: PLC0415

    run_daemon(config, once=once)


@app.command("snapshot")
def snapshot_command(
    name: Annotated[str, typer.Argument(help="The database's name in the configuration.")],
    *,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="Only there; default: all.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Build on nothing that is stored: `verify` found damage there.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Keep the whole database again, now: ships only what changed since the last snapshot."""
    from syncd.cli.snapshot import run_snapshot  # noqa: PLC0415

    run_snapshot(config, name, target, whole=whole, as_json=as_json)


@app.command("restore")
def restore_command(
    name: Annotated[str | None, typer.Argument(help="The database's name in the configuration.")] = None,
    *,
    to: Annotated[Path, typer.Option(metavar="FILE", readable=False, help="Where to write the database.")],
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The last state up to then: 2026-11-23T10:00:00Z.")
    ] = None,
    seq: Annotated[int | None, typer.Option(min=0, help="Exactly this position, see `syncd log`.")] = None,
    generation: Annotated[
        str | None, typer.Option(help="Which chain; default: the newest that fits.")
    ] = None,
    identity: IdentityOption = None,
    passphrase_file: PassphraseOption = None,
    passphrase_command: PassphraseCommandOption = None,
    identity_command: IdentityCommandOption = None,
    verify_key: VerifyKeyOption = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="TARGET", help="A target's name, or `shadow`: the copy on this host."),
    ] = None,
    archive: ArchiveOption = None,
    endpoint_url: EndpointOption = "",
    expect_head: Annotated[
        str | None,
        typer.Option(metavar="HEAD", help="Refuse an archive older than this head, see `syncd log`."),
    ] = None,
    newest_within: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Refuse an archive that is not known to be whole since then: 2h."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Bring a database back, byte for byte."""
    from syncd.cli.restore import Request, run_restore  # noqa: PLC0415

    run_restore(
        Request(
            name=name,
            to=to,
            at=at,
            seq=seq,
            generation=generation,
            expect_head=expect_head,
            newest_within=newest_within,
            identity=identity,
            passphrase_file=passphrase_file,
            passphrase_command=passphrase_command,
            identity_command=identity_command,
            verify_key=verify_key,
            source=source,
            archive=archive,
            endpoint_url=endpoint_url,
            force=force,
            config=config,
        ),
        as_json=as_json,
    )


@app.command("log")
def log_command(
    name: Annotated[str | None, typer.Argument(help="The database's name in the configuration.")] = None,
    *,
    source: Annotated[str | None, typer.Option("--from", metavar="TARGET", help="A target's name.")] = None,
    archive: ArchiveOption = None,
    endpoint_url: EndpointOption = "",
    identity: IdentityOption = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What can be restored: generations, snapshots, ranges of deltas. Needs no passphrase."""
    from syncd.cli.log import run_log  # noqa: PLC0415
    from syncd.cli.places import Place  # noqa: PLC0415

    place = Place(
        name=name,
        source=source,
        archive=archive,
        endpoint_url=endpoint_url,
        identity=identity,
        config=config,
        verify_key=verify_key,
    )
    run_log(place, as_json=as_json)


@app.command("verify")
def verify_command(
    name: Annotated[str | None, typer.Argument(help="The database's name in the configuration.")] = None,
    *,
    sample: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Open a random share, e.g. 5%; needs --identity.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Open everything; needs --identity.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look for packs in the listing only, do not fetch them.")
    ] = False,
    source: Annotated[str | None, typer.Option("--from", metavar="TARGET", help="A target's name.")] = None,
    archive: ArchiveOption = None,
    endpoint_url: EndpointOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseOption = None,
    passphrase_command: PassphraseCommandOption = None,
    identity_command: IdentityCommandOption = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Is every object there, right and in its place? Names each that is not, and what that affects.

    Without an identity it proves signatures, packs and the order of deltas, not what is inside them.
    """
    from syncd.cli.verify import Request, run_verify  # noqa: PLC0415

    request = Request(
        name=name,
        source=source,
        archive=archive,
        endpoint_url=endpoint_url,
        identity=identity,
        config=config,
        sample=sample,
        full=full,
        quick=quick,
        passphrase_file=passphrase_file,
        passphrase_command=passphrase_command,
        identity_command=identity_command,
        verify_key=verify_key,
    )
    run_verify(request, as_json=as_json)


@app.command("drill")
def drill_command(
    name: Annotated[str | None, typer.Argument(help="The database's name in the configuration.")] = None,
    *,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Without your identity: a small database, there and back.")
    ] = False,
    scratch: Annotated[
        Path, typer.Option(metavar="DIR", readable=False, help="Where to restore to; removed afterwards.")
    ] = Path("/var/tmp"),  # noqa: S108 - a new directory of mode 0700 is made in it
    source: Annotated[str | None, typer.Option("--from", metavar="TARGET", help="A target's name.")] = None,
    archive: ArchiveOption = None,
    endpoint_url: EndpointOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseOption = None,
    passphrase_command: PassphraseCommandOption = None,
    identity_command: IdentityCommandOption = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Restore a random kept position, compare its digest, run SQLite's integrity_check on it.

    With --self-test: proves the target and the way back with a key made for the occasion, and that the
    newest snapshot is all there; not that your recovery kit opens your archive.
    """
    from syncd.cli.drill import Request, run_drill  # noqa: PLC0415

    request = Request(
        name=name,
        source=source,
        archive=archive,
        endpoint_url=endpoint_url,
        identity=identity,
        config=config,
        self_test=self_test,
        scratch=scratch,
        passphrase_file=passphrase_file,
        passphrase_command=passphrase_command,
        identity_command=identity_command,
        verify_key=verify_key,
    )
    run_drill(request, as_json=as_json)


@app.command("status")
def status_command(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """How far capture and every target are. Works whether or not the daemon runs."""
    from syncd.cli.status import run_status  # noqa: PLC0415

    run_status(config, as_json=as_json)


app.add_typer(keeping.app)
app.add_typer(keys.app, name="keys")
app.add_typer(access.app)


def main() -> NoReturn:
    """The entry point: errors of users end in one line and an exit code."""
    try:
        app(standalone_mode=True)
    except SyncdError as e:
        # The hint stands on a line of its own: the first line says what was wrong and where.
        typer.echo(f"syncd: {e.message}", err=True)
        if e.hint:
            typer.echo(f"  hint: {e.hint}", err=True)
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def check_exclusive(**options: object) -> None:
    """Refuse options that exclude each other. Raises ConfigError."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other", hint="give one of them")
