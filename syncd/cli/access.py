"""`policy` and `doctor` of the command line, see `syncd.cli`."""

from typing import Annotated, Literal

import typer

from syncd.cli.options import ConfigOption, JsonOption

app = typer.Typer()


@app.command("policy")
def policy_command(
    role: Annotated[Literal["writer", "pruner", "restorer"], typer.Argument(help="Who uses the bucket.")],
    *,
    target: Annotated[str, typer.Option(metavar="TARGET", help="A target's name in the configuration.")],
    only: Annotated[
        Literal["iam", "bucket"] | None, typer.Option(help="Nothing but this policy, to be piped.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The least that the writer, the pruner or the restorer needs, as policies for a bucket.

    The writer only creates: with its credentials nothing can be deleted, nor listed, nor packs read.
    """
    from syncd.cli.policy import run_policy  # noqa: PLC0415
    from syncd.store.iam import Role  # noqa: PLC0415

    run_policy(config, Role(role), target, only=only, as_json=as_json)


@app.command("doctor")
def doctor_command(
    name: Annotated[str | None, typer.Argument(help="Only this database; default: all.")] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Look at everything around the backup, trying what can be tried: ok, warning or failure, and what to do.

    Exits with the worst: 0 all is well, 3 a warning, 1 a failure. Run it as the daemon's user.
    """
    from syncd.cli.doctor import run_doctor  # noqa: PLC0415

    run_doctor(config, name, as_json=as_json)
