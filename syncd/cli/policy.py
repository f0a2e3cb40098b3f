"""`syncd policy`."""

from pathlib import Path

import typer

from syncd.cli.output import print_json
from syncd.config import BucketUrl, Config, find, load
from syncd.errors import ConfigError
from syncd.store.iam import NOTES, Role, bucket_policy, role_policy


def run_policy(config: Path | None, role: Role, target: str, *, only: str | None, as_json: bool) -> None:
    """Print what `role` needs at `target`, and what the bucket should refuse to all. Raises ConfigError."""
    settings = load(find(config))
    place = _bucket(settings, target)
    prefix = f"{place.prefix}/" if place.prefix else ""
    names = [name for name in settings.databases if target in settings.targets_of(name)]
    policies = {
        "iam": role_policy(role, place.bucket, prefix, names),
        "bucket": bucket_policy(place.bucket, prefix),
    }
    if only is not None:
        print_json(policies[only])
    elif as_json:
        print_json({**policies, "notes": NOTES})
    else:
        typer.echo(f"# What the {role} of {target} may do: the policy of its user or role.")
        print_json(policies["iam"])
        typer.echo("\n# What nobody may do: the policy of the bucket.")
        print_json(policies["bucket"])
        typer.echo("\n# What they do not bring about.")
        for note in NOTES:
            typer.echo(f"- {note}")


def _bucket(settings: Config, target: str) -> BucketUrl:
    if target not in settings.targets:
        raise ConfigError(
            f"there is no target {target!r} in the configuration",
            hint=f"it has {', '.join(settings.targets)}",
        )
    place = settings.targets[target].place
    if not isinstance(place, BucketUrl):
        raise ConfigError(
            f"{target} is a directory, and has no policies",
            hint="there, whoever may create may delete: let another host pull copies, or use a bucket",
        )
    return place
