"""A chat application in the test itself, kept by a syncd that is another process."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.process import Zygote, succeeded
from tests.e2e.support import Site, keep_truth


@dataclass(slots=True)
class Application:
    """A chat with one open connection, and the site that keeps it."""

    site: Site
    database: Path
    connection: sqlite3.Connection
    scratch: Path

    def post(self, text: str) -> None:
        self.connection.execute("INSERT INTO message VALUES (?)", (text,))

    def truth(self) -> Path:
        return keep_truth(self.database, self.scratch, "truth")

    def restored(self, quick: Zygote, *options: object) -> bytes:
        to = self.scratch / "restored.db"
        to.unlink(missing_ok=True)
        arguments = ("--archive", self.site.archive.as_uri(), *self.site.kit_options, "--to", to)
        succeeded(quick("restore", *arguments, *options))
        return to.read_bytes()
