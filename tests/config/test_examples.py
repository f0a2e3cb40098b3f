"""`config/*.toml`: they load, state every option, and state its real default."""

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from syncd.config import Config, load, parse
from syncd.config.model import Batch, BatchOverride
from syncd.config.template import EXAMPLE, PLACEHOLDER, render
from syncd.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "config"
ANNOTATED = EXAMPLES / "syncd.toml"
MINIMAL = EXAMPLES / "minimal.toml"


def loaded(path: Path, recipient: str, tmp_path: Path) -> Config:
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace(PLACEHOLDER, recipient))
    return load(copy)


@pytest.mark.parametrize("path", [ANNOTATED, MINIMAL])
def test_an_example_loads_once_it_has_a_recipient(path: Path, recipient: str, tmp_path: Path) -> None:
    config = loaded(path, recipient, tmp_path)
    assert list(config.databases) == ["chat"]
    assert config.keys.recipients == (recipient,)


@pytest.mark.parametrize("path", [ANNOTATED, MINIMAL])
def test_as_it_is_it_is_refused_for_its_recipient_alone(path: Path) -> None:
    with pytest.raises(ConfigError, match="1 problem") as caught:
        load(path)
    assert f"keys.recipients.0: '{PLACEHOLDER}' - " in caught.value.message


def test_the_annotated_one_is_the_template() -> None:
    assert ANNOTATED.read_text() == render(EXAMPLE, every_option=True)


def test_the_minimal_one_says_nothing_that_may_be_left_out(recipient: str) -> None:
    raw = tomllib.loads(MINIMAL.read_text())
    raw["keys"]["recipients"] = [recipient]
    parse(raw)
    for table, key in leaves(raw):
        value = table.pop(key)
        with pytest.raises(ConfigError):
            parse(raw)
        table[key] = value


def leaves(table: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    found = []
    for key, value in table.items():
        found += leaves(value) if isinstance(value, dict) else [(table, key)]
    return found


def sections(annotation: object) -> type[BaseModel] | None:
    """The model of a table, or of the tables in a mapping."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def options(model: type[BaseModel], tables: list[dict[str, Any]], field: str = "") -> dict[str, bool]:
    """Every option below `model` as a dotted field, and whether one of the tables states it."""
    found: dict[str, bool] = {}
    for name, info in model.model_fields.items():
        dotted = f"{field}.{name}".lstrip(".")
        present = [table[name] for table in tables if name in table]
        inner = sections(info.annotation)
        if inner is None:
            found[dotted] = bool(present)
        elif "Mapping" in str(info.annotation):
            found |= options(inner, [table for named in present for table in named.values()], f"{dotted}.*")
        else:
            found |= options(inner, present, dotted)
    return found


def test_the_annotated_one_has_every_option() -> None:
    found = options(Config, [tomllib.loads(ANNOTATED.read_text())])
    assert {"state_dir", "batch.max_delay", "targets.*.url", "databases.*.batch.max_bytes"} <= set(found)
    assert [field for field, is_stated in found.items() if not is_stated] == []


def test_the_annotated_one_states_the_real_defaults(recipient: str, tmp_path: Path) -> None:
    annotated = loaded(ANNOTATED, recipient, tmp_path)
    minimal = loaded(MINIMAL, recipient, tmp_path)
    without = {"targets", "databases"}
    assert annotated.model_dump(exclude=without) == minimal.model_dump(exclude=without)
    for target in annotated.targets.values():
        assert target == type(target)(url=target.url)
    chat = annotated.databases["chat"]
    # These two have no value for "as above": the file states what that comes to.
    assert chat.batch == BatchOverride(**Batch().model_dump())
    assert chat.targets == annotated.targets_of("chat") == tuple(annotated.targets)
    plain = annotated.model_copy(update={"databases": {"chat": type(chat)(path=chat.path)}})
    assert plain.targets_of("chat") == annotated.targets_of("chat")
    assert plain.batch_of("chat") == annotated.batch_of("chat")
