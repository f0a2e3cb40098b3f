"""The recovery kit: one text file with all that a restore needs, apart from the passphrase.

- Prose for people, then one block between a BEGIN and an END line for machines. Only the block is read.
- In the block, `name: value`; a line that starts with none of the names continues the line before it.
  Spaces at both ends of a line, blank lines, CRLF and a byte-order mark mean nothing: mailers and
  editors put them in. White space inside keys means nothing either.
- An error names the line and the reason, never a value.
"""

import base64
import shlex
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from syncd.envelope.identity import check_protected
from syncd.envelope.keys import Recipient, VerifyKey
from syncd.errors import FormatVersionError, IdentityError
from syncd.model import format_time, parse_time

BEGIN: Final = "-----BEGIN SYNCD RECOVERY KIT-----"
END: Final = "-----END SYNCD RECOVERY KIT-----"
VERSION: Final = "1"
MAX_KIT_CHARS: Final = 256 * 1024

_OPTIONAL: Final = frozenset({"endpoint"})
_FIELDS: Final = ("version", "database", "target", "endpoint", "created", "verify", "recipient", "identity")
_T = TypeVar("_T")

_PROSE: Final = """\
syncd recovery kit for the database "{database}"
made {created}

Keep this file away from the machine that it protects, in two places, and the passphrase in a third.
Who has this file, the passphrase and access to the archive can read the database. Without this file
or without the passphrase NOBODY can, not even the makers of syncd.

To get the database back, on any machine:

  1. Install syncd (Python 3.11 or newer; its README says how).
  2. Give it access to the archive. For s3:// that is the usual AWS variables or ~/.aws/credentials.
  3. Save this file as kit.txt and run:

     syncd restore --archive {archive} --identity kit.txt --to {database}.restored

  It asks for the passphrase. It never writes over an existing file.

The archive is described byte for byte in FORMAT.md of syncd: it can be read without syncd.
The lines below are for the program. Their line breaks do not matter, everything else does.
"""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a recovery kit says. `endpoint_url` is empty where the target needs none."""

    database: str
    target_url: str
    endpoint_url: str
    verify_key: VerifyKey
    recipient: Recipient
    protected_identity: bytes = field(repr=False)
    created_ms: int

    @property
    def archive_url(self) -> str:
        """Where the archive of this database lies."""
        return f"{self.target_url.rstrip('/')}/{self.database}"


def render_kit(kit: Kit) -> str:
    """The text of a kit. Raises ValueError where a name or URL cannot stand on one line."""
    for value in (kit.database, kit.target_url, kit.endpoint_url):
        if value != value.strip() or not value.isprintable():
            raise ValueError(f"{value!r} cannot stand on one line of a recovery kit")
    created = format_time(kit.created_ms)
    prose = _PROSE.format(database=kit.database, created=created, archive=shlex.quote(kit.archive_url))
    lines = [BEGIN, f"version: {VERSION}", f"database: {kit.database}", f"target: {kit.target_url}"]
    if kit.endpoint_url:
        lines.append(f"endpoint: {kit.endpoint_url}")
    lines += [f"created: {created}", "verify:", *_wrapped(kit.verify_key.to_text())]
    lines += ["recipient:", *_wrapped(kit.recipient.to_text())]
    lines += ["identity:", *_wrapped(base64.b64encode(kit.protected_identity).decode()), END]
    return prose + "\n" + "\n".join(lines) + "\n"


def parse_kit(text: str) -> Kit:
    """Read a kit. Raises IdentityError, or FormatVersionError for a newer one."""
    if len(text) > MAX_KIT_CHARS:
        raise _bad(1, "the file is far too long for a recovery kit")
    fields = _fields(text.lstrip("\ufeff").splitlines())
    line, version = fields["version"]
    if version != VERSION:
        raise FormatVersionError(
            f"recovery kit, line {line}: this syncd reads version {VERSION} only", hint="upgrade syncd"
        )
    return Kit(
        database=fields["database"][1],
        target_url=fields["target"][1],
        endpoint_url=fields["endpoint"][1] if "endpoint" in fields else "",
        verify_key=_convert(fields["verify"], VerifyKey.parse),
        recipient=_convert(fields["recipient"], Recipient.parse),
        protected_identity=_convert(fields["identity"], _identity),
        created_ms=_convert(fields["created"], parse_time),
    )


def _fields(lines: list[str]) -> dict[str, tuple[int, str]]:
    """Name to (line number, value) of the block."""
    stripped = [line.strip() for line in lines]
    if BEGIN not in stripped:
        raise _bad(len(lines), f"there is no line {BEGIN!r}")
    start = stripped.index(BEGIN) + 1
    if END not in stripped[start:]:
        raise _bad(len(lines), f"there is no line {END!r}: the file is cut off")
    found: dict[str, tuple[int, str]] = {}
    current = ""
    for number, line in enumerate(stripped[start : stripped.index(END, start)], start + 1):
        name, colon, value = line.partition(":")
        if colon and name in _FIELDS:
            if name in found:
                raise _bad(number, f"{name!r} is there twice")
            current = name
            found[current] = (number, value.strip())
        elif current:
            found[current] = (found[current][0], found[current][1] + line)
        elif line:
            raise _bad(number, "a name was expected")
    for name in _FIELDS:
        if name not in _OPTIONAL and not found.get(name, (0, ""))[1]:
            raise _bad(found.get(name, (start, ""))[0], f"{name!r} is missing")
    return found


def _convert(field_: tuple[int, str], parse: Callable[[str], _T]) -> _T:
    line, value = field_
    try:
        return parse(value)
    except IdentityError as error:
        raise _bad(line, error.message) from error
    except ValueError as error:
        raise _bad(line, "this is not what belongs here") from error


def _identity(text: str) -> bytes:
    raw = base64.b64decode("".join(text.split()), validate=True)
    check_protected(raw)
    return raw


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 64, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _bad(line: int, reason: str) -> IdentityError:
    return IdentityError(
        f"recovery kit, line {line}: {reason}", hint="use the file that `syncd init` wrote, unchanged"
    )
