import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config import Config, parse
from syncd.config.recipients import read_recipients
from syncd.config.template import EXAMPLE, Setup, TargetSetup, render
from syncd.envelope.keys import Identity


def setup(recipient: str, **changes: object) -> Setup:
    values: dict[str, object] = {
        "state_dir": Path("/srv/state"),
        "signing_key": Path("/srv/signing.key"),
        "recipients": (recipient,),
        "targets": {"bucket": TargetSetup("s3://bucket/prefix", "https://s3.example")},
        "databases": {"chat": Path("/srv/chat/chat.db")},
    }
    return Setup(**(values | changes))  # type: ignore[arg-type]


def load(text: str) -> Config:
    return parse(tomllib.loads(text))


@pytest.mark.parametrize("every_option", [False, True])
def test_what_is_rendered_is_read_back(recipient: str, every_option: bool) -> None:
    config = load(render(setup(recipient), every_option=every_option))
    assert config.state_dir == Path("/srv/state")
    assert config.keys.signing_key == Path("/srv/signing.key")
    assert config.keys.recipients == (recipient,)
    assert (config.targets["bucket"].url, config.targets["bucket"].endpoint_url) == (
        "s3://bucket/prefix",
        "https://s3.example",
    )
    assert config.databases["chat"].path == Path("/srv/chat/chat.db")


def test_options_at_their_defaults_are_comments_that_become_right_by_uncommenting(recipient: str) -> None:
    few = render(setup(recipient))
    every = render(setup(recipient), every_option=True)
    assert few != every
    lines = [(quiet, active) for quiet, active in zip(few.splitlines(), every.splitlines(), strict=True)]
    changed = [(quiet, active) for quiet, active in lines if quiet != active]
    assert changed
    for quiet, active in changed:
        assert quiet == f"# {active}"
    assert tomllib.loads(few).keys() == tomllib.loads(every).keys()


def test_a_hybrid_recipient_is_wrapped_and_read_back() -> None:
    hybrid = Identity.generate().recipient.to_text()
    assert len(hybrid) > 1000
    text = render(setup(hybrid))
    assert max(len(line) for line in text.splitlines()) <= 110
    assert load(text).keys.recipients == (hybrid,)
    (listed,) = read_recipients(load(text).keys)
    assert listed.recipient.to_text() == hybrid


def test_names_with_dots_are_quoted(recipient: str) -> None:
    text = render(
        setup(recipient, databases={"chat.db": Path("/a")}, targets={"b.c": TargetSetup("file:///backups")}),
        every_option=True,
    )
    config = load(text)
    assert list(config.databases) == ["chat.db"]
    assert config.targets_of("chat.db") == ("b.c",)


@given(
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1).filter(lambda text: ".." not in text)
)
def test_every_path_survives(text: str) -> None:
    path = Path("/", "dir", text.strip("/") or "x")
    raw = tomllib.loads(render(setup("r", state_dir=path, databases={"chat": path})))
    assert raw["state_dir"] == str(path)
    assert raw["databases"]["chat"]["path"] == str(path)


def test_a_directory_has_no_options_of_buckets() -> None:
    local = render(EXAMPLE).split("[targets.local]")[1].split("[targets.bucket]", maxsplit=1)[0]
    assert "timeout" in local
    assert "region" not in local
