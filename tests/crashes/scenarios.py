"""All scenarios."""

from tests.crashes import archives, files, verbs

SCENARIOS = (*verbs.SCENARIOS, *archives.SCENARIOS, *files.SCENARIOS)
