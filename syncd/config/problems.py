"""What is wrong with a configuration, in a person's words.

- One line per problem: dotted field, offending value, reason.
- A value is shown only where it cannot be a secret: nothing under `keys` but recipients and paths, no value
  of an unknown key (it may be a password), no URL with credentials or a query, no secret key that was put
  into the wrong place, nothing long.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from typing_extensions import override

from syncd.envelope.keys import is_secret

_MAX_SHOWN: Final = 60
_HIDDEN: Final = "(not shown)"
_REASONS: Final = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "mapping_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be an array",
    "too_short": "must not be empty",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`field` is dotted; `shown` is the value as it may be printed, or empty where there is none."""

    field: str
    shown: str
    reason: str

    @override
    def __str__(self) -> str:
        return f"{self.field}: {self.shown} - {self.reason}" if self.shown else f"{self.field}: {self.reason}"


def spell(key: int | str) -> str:
    """A key of a table, or an index of an array, as a part of a dotted field."""
    text = str(key)
    return _shorten(text if text.isprintable() and text else repr(text))


def show(field: str, value: object) -> str:
    """The value as it may stand in an error message or a log."""
    match value:
        case str():
            return _show_string(field, value)
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "an array"
        case _ if field.split(".", maxsplit=1)[0] == "keys":
            return _HIDDEN
        case _:
            return _shorten(str(value))


def _show_string(field: str, value: str) -> str:
    if field.split(".", maxsplit=1)[0] == "keys" and not value.startswith(("/", "syncd-recipient-")):
        return _HIDDEN
    if is_secret(value):
        return _HIDDEN
    if "://" in value and ("@" in value or "?" in value):
        return _HIDDEN
    return _shorten(repr(value))


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def from_pydantic(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """One Problem per finding of pydantic, in its order."""
    return [
        _translate(found["loc"], found["type"], found["msg"], found["input"], found.get("ctx", {}), root)
        for found in error.errors(include_url=False)
    ]


def _translate(
    loc: tuple[int | str, ...],
    kind: str,
    message: str,
    value: object,
    ctx: dict[str, Any],
    root: type[BaseModel],
) -> Problem:
    # pydantic marks a problem of a table's key, rather than its value, by a last element of [key].
    is_key = loc[-1:] == ("[key]",)
    field = ".".join(spell(part) for part in (loc[:-1] if is_key else loc))
    if kind == "extra_forbidden":
        return Problem(field, "", "unknown key" + _suggestion(loc, root))
    if kind == "missing":
        return Problem(field, "", _REASONS[kind])
    if kind == "literal_error":
        reason = f"must be {ctx['expected']}"
    elif kind == "value_error":
        reason = str(ctx["error"])
    else:
        reason = _REASONS.get(kind, message[:1].lower() + message[1:])
    return Problem(field, "" if is_key or kind == "too_short" else show(field, value), reason)


def _suggestion(loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    known = _keys_at(loc[:-1], root)
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"


def _keys_at(loc: Iterable[int | str], root: type[BaseModel]) -> list[str]:
    model = root
    inside_mapping = False
    for part in loc:
        if inside_mapping:
            inside_mapping = False
            continue
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        else:
            # A mapping of names to tables: its second argument is the table.
            model = getattr(annotation, "__args__", (None, root))[1]
            inside_mapping = True
    return list(model.model_fields)
