"""Rules that span several tables of the configuration.

They look at the raw tables, before or beside pydantic, so that their problems are reported together with
those of single fields; what has the wrong type is passed over here, since pydantic names it.

- A database's targets exist.
- No two databases have the same file, no two targets the same place.
- Options of buckets stand only at buckets.
- Who drills with an identity says where its passphrase is.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from syncd.config.model import Config, check_path, check_url
from syncd.config.problems import Problem, show, spell
from syncd.config.url import DirectoryUrl

if TYPE_CHECKING:
    from pathlib import Path

_BUCKET_OPTIONS: Final = ("endpoint_url", "region", "profile", "pruner", "restorer")


def check_relations(raw: Mapping[str, object]) -> list[Problem]:
    """Every broken rule, in the order of the file."""
    targets, databases = _tables(raw, "targets"), _tables(raw, "databases")
    return [
        *_half_identities(raw.get("drill")),
        *_same_places(targets),
        *_misplaced_options(targets),
        *_same_files(databases),
        *_unknown_targets(databases, targets),
    ]


def warnings(config: Config) -> list[str]:
    """What works, but deserves a thought; one sentence each."""
    found = []
    for name, database in config.databases.items():
        if config.state_dir.is_relative_to(database.path.parent):
            found.append(
                f"state_dir: {config.state_dir} is inside the directory of databases.{name}: "
                "what loses or fills the one takes the other with it"
            )
    for name, target in config.targets.items():
        place = target.place
        if isinstance(place, DirectoryUrl) and place.path.is_relative_to(config.state_dir):
            found.append(f"targets.{name}: {target.url} is inside state_dir, and is lost together with it")
        if target.endpoint_url.startswith("http://") and not _is_local(target.endpoint_url):
            found.append(f"targets.{name}: {target.endpoint_url} is not encrypted in transit; use https")
    return found


def _is_local(endpoint: str) -> bool:
    host = endpoint.removeprefix("http://")
    return host.startswith(("localhost", "127.", "[::1]"))


def _tables(raw: Mapping[str, object], name: str) -> dict[str, Mapping[str, object]]:
    table = raw.get(name)
    if not isinstance(table, Mapping):
        return {}
    return {spell(key): item for key, item in table.items() if isinstance(item, Mapping)}


def _half_identities(drill: object) -> Iterator[Problem]:
    if isinstance(drill, Mapping) and drill.get("identity") and not drill.get("passphrase_file"):
        yield Problem("drill.passphrase_file", "", "is required where drill.identity is set")


def _same_places(targets: Mapping[str, Mapping[str, object]]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    for name, table in targets.items():
        try:
            url = check_url(str(table.get("url")))
        except ValueError:
            continue
        # The same bucket name at two endpoints is two buckets.
        first = seen.setdefault((url, str(table.get("endpoint_url", "")).rstrip("/")), name)
        if first != name:
            field = f"targets.{name}.url"
            yield Problem(field, show(field, url), f"is the same place as targets.{first}")


def _misplaced_options(targets: Mapping[str, Mapping[str, object]]) -> Iterator[Problem]:
    for name, table in targets.items():
        if str(table.get("url")).startswith("file:"):
            for option in _BUCKET_OPTIONS:
                if table.get(option):
                    field = f"targets.{name}.{option}"
                    yield Problem(field, show(field, table[option]), "is for s3:// targets only")


def _same_files(databases: Mapping[str, Mapping[str, object]]) -> Iterator[Problem]:
    seen: dict[Path, str] = {}
    for name, table in databases.items():
        try:
            path = check_path(table.get("path"))
        except ValueError:
            continue
        first = seen.setdefault(path, name)
        if first != name:
            field = f"databases.{name}.path"
            yield Problem(field, show(field, str(path)), f"is the same file as databases.{first}")


def _unknown_targets(
    databases: Mapping[str, Mapping[str, object]], targets: Mapping[str, object]
) -> Iterator[Problem]:
    for name, table in databases.items():
        chosen = table.get("targets")
        if not isinstance(chosen, list | tuple):
            continue
        for index, target in enumerate(chosen):
            if isinstance(target, str) and target not in targets:
                field = f"databases.{name}.targets.{index}"
                known = ", ".join(targets) or "none"
                yield Problem(field, show(field, target), f"no such target; there are: {known}")
