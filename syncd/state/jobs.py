"""When the jobs of the calendar ran last, and what came of it."""

from syncd.state.connection import Connection
from syncd.state.records import Job


class JobTable:
    """One row for each job. Raises StateError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self) -> dict[str, Job]:
        """Every job that ever ran, by its name."""
        rows = await self._connection.rows("SELECT name, last_ms, ok, detail FROM job")
        return {row[0]: Job(row[0], row[1], bool(row[2]), row[3]) for row in rows}

    async def record(self, job: Job) -> None:
        """It ran."""
        async with self._connection.transaction() as run:
            run("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?)", job.name, job.last_ms, job.ok, job.detail)
