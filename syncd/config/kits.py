"""What `--identity` names: a recovery kit, or a PEM file with an RSA key."""

from pathlib import Path
from typing import Final

from syncd.envelope import pem
from syncd.envelope.kit import Kit, parse_kit
from syncd.errors import IdentityError

_MAX_BYTES: Final = 1 << 20


def is_pem_file(path: Path) -> bool:
    """Whether it is a PEM file; False where it cannot be read. `read_kit` says that better."""
    try:
        return pem.is_pem(read_file(path))
    except IdentityError:
        return False


def read_file(path: Path) -> bytes:
    """The start of a file, 1 MiB at most. Raises IdentityError."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as e:
        raise IdentityError(f"the identity {path} cannot be read: {e.strerror}") from e


def read_kit(path: Path) -> Kit:
    """The kit. Raises IdentityError."""
    try:
        return parse_kit(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not a text file"
        raise IdentityError(f"the recovery kit {path} cannot be read: {reason}") from e
