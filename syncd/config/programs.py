"""Programs that the operator names: one that prints a passphrase, one that asks an HSM.

- A command is split into words as a shell would, and run without one.
- What it prints is secret, so no error shows any of it; what it says on stderr goes to ours.
"""

import shlex
import subprocess
from typing import Final

from syncd.errors import ConfigError, IdentityError

_PATIENCE_SECONDS: Final = 300.0  # somebody may have to touch a token


def run_program(option: str, command: str, given: bytes = b"") -> bytes:
    """What the program prints; `given` is its input. Raises ConfigError, IdentityError where it fails."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise ConfigError(f"{option}: this is no command", hint="give a program and its arguments")
    try:
        result = subprocess.run(
            words, input=given, stdout=subprocess.PIPE, timeout=_PATIENCE_SECONDS, check=False
        )
    except OSError as e:
        raise ConfigError(f"{option}: {words[0]} cannot be run: {e.strerror}") from e
    except subprocess.TimeoutExpired as e:
        raise IdentityError(f"{option}: {words[0]} did not end within {_PATIENCE_SECONDS:.0f} s") from e
    if result.returncode != 0:
        raise IdentityError(f"{option}: {words[0]} failed with exit code {result.returncode}")
    return result.stdout
