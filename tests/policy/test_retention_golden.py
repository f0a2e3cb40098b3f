"""The rule over one long history, as it was read and found right once."""

import pytest

from tests.policy.make_golden import GOLDEN, POLICIES, told


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_does_what_it_did(name: str) -> None:
    expected = (GOLDEN / f"{name}.txt").read_text()
    assert told(POLICIES[name]) == expected, "read it, then run `python -m tests.policy.make_golden`"


def test_there_is_a_policy_for_every_file() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == POLICIES.keys()
