"""All scenarios."""

from tests.crashes import archives, files, service, verbs

SCENARIOS = (*verbs.SCENARIOS, *archives.SCENARIOS, *files.SCENARIOS, *service.SCENARIOS)
