"""Every error a user can meet, in one tree.

    SyncdError                       1   a defect of syncd itself, or a class below
    |-- ConfigError                 10   the configuration cannot be used
    |-- SourceError                 11   the application's database cannot be read
    |   `-- SourceCorrupt           11   SQLite finds damage in it
    |-- IdentityError               12   wrong passphrase, wrong or missing identity
    |-- StoreError                  13   the object store did not do what it was asked
    |   |-- StoreUnavailable        13   network, time-out, 5xx: a retry can help
    |   |-- StoreRefused            14   credentials, permissions, no such bucket
    |   |-- StoreUnfit              14   the store ignores conditional creates
    |   |-- ObjectNotFound          13   no object of that name
    |   `-- ObjectExists            13   the name was created before
    |       `-- ObjectUnread        13   and what is there may not be read
    |-- ArchiveError                15   an object is damaged, forged, or missing
    |   `-- FormatVersionError      18   written by a newer syncd
    |-- NoRestorePoint              16   nothing kept at that time or seq
    |-- WouldOverwrite              17   a file is there already
    |-- StateError                  19   syncd's own state is damaged, or in use
    |-- ConflictError               20   another daemon writes to this archive
    |   `-- ArchiveClaimed          20   and holds the claim to it
    `-- ClockError                  21   this host's clock and the store's disagree

The number is the process's exit code (2 is a usage error of the command line). `hint` tells the
operator what to do; `retryable` says whether the same call can succeed later without anyone acting.
"""

from typing import ClassVar

from typing_extensions import override


class SyncdError(Exception):
    """Base of all errors that syncd raises on purpose.

    Args:
        message: what was wrong and where, in one sentence without a full stop.
        hint: what the operator can do about it.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @override
    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(SyncdError):
    """The configuration, or a command's argument, cannot be used."""

    exit_code = 10


class SourceError(SyncdError):
    """The application's database cannot be read: missing, unreadable, or not SQLite.

    The daemon keeps looking: files appear, permissions are mended.
    """

    exit_code = 11
    retryable = True


class SourceCorrupt(SourceError):
    """SQLite finds damage in the database: someone must act before good history expires."""

    retryable = False


class IdentityError(SyncdError):
    """The identity does not open this archive, or its passphrase is wrong."""

    exit_code = 12


class StoreError(SyncdError):
    """The object store did not do what it was asked."""

    exit_code = 13


class StoreUnavailable(StoreError):
    """No answer, a dropped connection, a 5xx: the same call may succeed later."""

    retryable = True


class StoreRefused(StoreError):
    """The store said no: credentials, permissions, a missing bucket or directory.

    Retried slowly by the daemon, since operators mend it while the daemon runs.
    """

    exit_code = 14
    retryable = True


class StoreUnfit(StoreError):
    """The store cannot promise what syncd needs, for example create-once."""

    exit_code = 14


class ObjectNotFound(StoreError):
    """There is no object of that name."""


class ObjectExists(StoreError):
    """The name was created before; its object was left as it is."""


class ObjectUnread(ObjectExists):
    """The name was created before, by whomever: the store lets us not look at the object."""


class ArchiveError(SyncdError):
    """An object of the archive is damaged, forged, out of place or missing."""

    exit_code = 15


class FormatVersionError(ArchiveError):
    """The object was written by a newer syncd than this one."""

    exit_code = 18


class NoRestorePoint(SyncdError):
    """Nothing is kept at that time or sequence number."""

    exit_code = 16


class WouldOverwrite(SyncdError):
    """A file is there already, and nobody said it may be replaced."""

    exit_code = 17


class StateError(SyncdError):
    """syncd's own state directory is damaged, unwritable, or used by another process."""

    exit_code = 19


class ConflictError(SyncdError):
    """Another daemon writes to the same archive."""

    exit_code = 20


class ArchiveClaimed(ConflictError):
    """Another daemon claimed the archive, or took it over: nothing is written until someone decides."""


class ClockError(SyncdError):
    """The clock of this host and that of the store are too far apart to delete by age."""

    exit_code = 21


def error_class(exit_code: int) -> type[SyncdError]:
    """The most general class with this exit code."""
    classes = [SyncdError]
    for known in classes:
        if known.exit_code == exit_code:
            return known
        classes += known.__subclasses__()
    return SyncdError
