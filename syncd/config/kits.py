"""A recovery kit in a file."""

from pathlib import Path

from syncd.envelope.kit import Kit, parse_kit
from syncd.errors import IdentityError


def read_kit(path: Path) -> Kit:
    """The kit. Raises IdentityError."""
    try:
        return parse_kit(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not a text file"
        raise IdentityError(f"the recovery kit {path} cannot be read: {reason}") from e
