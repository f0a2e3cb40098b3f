"""The commands about what is kept, what goes, and who writes: prune, hold, release, undelete, claim. Thin."""

from typing import Annotated

import typer

from syncd.cli.options import ArchiveOption, ConfigOption, EndpointOption, IdentityOption, JsonOption

app = typer.Typer()

_NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The database's name in the configuration.")
]
_FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TARGET", help="Only this target; default: all.")
]
_UntilOption = Annotated[str | None, typer.Option(metavar="DATE", help="2027-06-30 or 2027-06-30T12:00:00Z.")]


@app.command("prune")
def prune_command(
    name: Annotated[str | None, typer.Argument(help="The database's name in the configuration.")] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, only say what would go.")
    ] = False,
    source: _FromOption = None,
    archive: ArchiveOption = None,
    endpoint_url: EndpointOption = "",
    identity: IdentityOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove what the retention rule does not keep: tombstoned now, deleted by a prune after the grace.

    Tells of every object whether it stays, and why. Needs no passphrase.
    """
    from syncd.cli.places import Place  # noqa: PLC0415
    from syncd.cli.prune import run_prune  # noqa: PLC0415

    place = Place(
        name=name, source=source, archive=archive, endpoint_url=endpoint_url, identity=identity, config=config
    )
    run_prune(place, dry_run=dry_run, as_json=as_json)


@app.command("undelete")
def undelete_command(
    name: _NameArgument,
    *,
    until: _UntilOption = None,
    source: _FromOption = None,
    config: ConfigOption = None,
) -> None:
    """Take back what is tombstoned and not yet deleted: hold it, for 7 days unless --until says otherwise."""
    from syncd.cli.places import Place  # noqa: PLC0415
    from syncd.cli.prune import run_undelete  # noqa: PLC0415

    run_undelete(Place(name, source, None, "", None, config), until=until)


@app.command("hold")
def hold_command(
    name: _NameArgument,
    *,
    until: _UntilOption = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why. It is stored in the clear, in every target.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only the snapshot before then, and what follows it.")
    ] = None,
    seq: Annotated[int | None, typer.Option(min=0, help="Only this position, see `syncd log`.")] = None,
    list_holds: Annotated[bool, typer.Option("--list", help="Tell what is held.")] = False,
    source: _FromOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Keep what can be restored now until a date, whatever the retention rule says. Prints the hold's id.

    The reason is not sealed: whoever can list the bucket can read it.
    """
    from syncd.cli.hold import Request, run_hold, run_holds  # noqa: PLC0415

    request = Request(
        name=name,
        source=source,
        archive=None,
        endpoint_url="",
        identity=None,
        config=config,
        until=until,
        reason=reason,
        at=at,
        seq=seq,
    )
    if list_holds:
        run_holds(request, as_json=as_json)
    else:
        run_hold(request)


@app.command("release")
def release_command(
    name: _NameArgument,
    mark_id: Annotated[str, typer.Argument(metavar="ID", help="As `syncd hold` printed it.")],
    *,
    source: _FromOption = None,
    config: ConfigOption = None,
) -> None:
    """End a hold before its date."""
    from syncd.cli.hold import run_release  # noqa: PLC0415
    from syncd.cli.places import Place  # noqa: PLC0415

    run_release(Place(name, source, None, "", None, config), mark_id)


@app.command("claim")
def claim_command(
    name: _NameArgument,
    *,
    target: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Only this target; default: all.")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Be the one that writes from now on; the others are stopped.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to take over.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Which daemon writes the archive: one does. Tells who claimed it when, or takes it over.

    A take-over closes the generations of the others, and a new one begins. Nothing is deleted.
    """
    from syncd.cli.claim import run_claims, run_take_over  # noqa: PLC0415
    from syncd.cli.places import Place  # noqa: PLC0415

    place = Place(name, target, None, "", None, config)
    if take_over:
        run_take_over(place, yes=yes, as_json=as_json)
    else:
        run_claims(place, as_json=as_json)
