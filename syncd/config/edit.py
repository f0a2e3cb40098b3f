"""Changes of the recipients in a configuration file; everything else, comments included, stays as it is.

- What would come out is loaded and checked before anything is written; a file is replaced whole, with its
  mode and owner, or not at all. What `replace` has replaced stays so after a power cut.
- A link is followed: the file that it names is replaced, the link stays.
"""

import os
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, Table

from syncd.config.load import parse
from syncd.config.model import Config, check_recipient
from syncd.config.template import spell_recipients
from syncd.durable import partial_file, sync_directory
from syncd.errors import ConfigError


def with_recipients(text: str, recipients: Sequence[str]) -> str:
    """The text of a configuration with these recipients. Raises ConfigError."""
    try:
        document = tomlkit.parse(text)
        keys = document["keys"]
        if not isinstance(keys, Table):
            raise ConfigError("keys is not a table", hint="write it as [keys]")
        array = keys["recipients"]
        if not isinstance(array, Array):
            raise ConfigError("keys.recipients is not an array")
        _change(array, recipients)
    except (TOMLKitError, KeyError) as e:
        raise ConfigError(f"the recipients cannot be changed: {e}", hint="edit the file by hand") from e
    return tomlkit.dumps(document)


def _change(array: Array, recipients: Sequence[str]) -> None:
    """Keep items that stay, and all comments; new ones go to the end, spelled as `init` does."""
    for index in reversed(range(len(array))):
        if check_recipient(str(array[index])) not in recipients:
            del array[index]
    there = {check_recipient(str(item)) for item in array}
    for text in recipients:
        if text not in there:
            (item,) = tomlkit.parse(spell_recipients((text,)))["recipients"]
            array.append(item)


def replace(path: Path, text: str) -> Config:
    """Check a configuration, then write it. Raises ConfigError; then the file is as it was."""
    config = parse(tomllib.loads(text), name=str(path))
    path = path.resolve()
    try:
        found = path.stat()
        with partial_file(path) as (descriptor, partial):
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="", closefd=False) as file:
                file.write(text)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, found.st_uid, found.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
            os.fsync(descriptor)
            partial.replace(path)
            sync_directory(path.parent)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e.strerror}", hint="run it as its owner") from e
    return config
