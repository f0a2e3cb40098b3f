"""Durations and sizes as people write them: "500ms", "4MiB".

- A duration is seconds as a float; written as a number of seconds, or with ms, s, m, h, d or w.
- A size is bytes as an int; written as a number of bytes, or with B, KiB, MiB, GiB, kB, MB or GB.
- `parse_...` and `format_...` are inverse: what is formatted parses to the same value.
- pydantic's ByteSize is not used: it takes bits, booleans and `4m` as well.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

_DURATION_UNITS: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE_UNITS: Final = {
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "GB": 1_000_000_000,
    "MB": 1_000_000,
    "kB": 1000,
    "B": 1,
}
_NUMBER_UNIT: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")


def parse_duration(value: object) -> float:
    """Seconds of "500ms", "5s", "10m", "2h", "7d", "1w" or of a number. Raises ValueError."""
    if isinstance(value, str):
        found = _NUMBER_UNIT.fullmatch(value.strip())
        if found and (found[2] or "s") in _DURATION_UNITS:
            unit = found[2] or "s"
            # A division gives 0.5 for 500 ms; a product with 0.001 is off by one ulp for others.
            return float(found[1]) / 1000 if unit == "ms" else float(found[1]) * _DURATION_UNITS[unit]
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
        return float(value)
    raise ValueError('must be a duration such as "500ms", "5s", "10m" or "7d"')


def format_duration(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back, e.g. 5s, 250ms, 7d."""
    for unit, factor in _DURATION_UNITS.items():
        if unit in {"ms", "s"}:
            break
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    if 0 < seconds < 1 and parse_duration(f"{seconds * 1000:.9g}ms") == seconds:
        return f"{seconds * 1000:.9g}ms"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds!r}s"


def parse_size(value: object) -> int:
    """Bytes of "4MiB", "512KiB", "10MB" or of a whole number. Raises ValueError."""
    if isinstance(value, str):
        found = _NUMBER_UNIT.fullmatch(value.strip())
        if found and (found[2] or "B") in _SIZE_UNITS:
            size = Fraction(found[1]) * _SIZE_UNITS[found[2] or "B"]
            if size.denominator == 1:
                return int(size)
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('must be a size such as "512KiB", "4MiB", or a whole number of bytes')


def format_size(size: int) -> str:
    """The shortest exact spelling in binary units, e.g. 4MiB, 512KiB, 1000B."""
    for unit, factor in _SIZE_UNITS.items():
        if unit.endswith("iB") and size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def duration_between(low: float, high: float) -> Callable[[object], float]:
    """A validator: a duration within these bounds, in seconds."""

    def check(value: object) -> float:
        seconds = parse_duration(value)
        if not low <= seconds <= high:
            raise ValueError(f"must be between {format_duration(low)} and {format_duration(high)}")
        return seconds

    return check


def size_between(low: int, high: int) -> Callable[[object], int]:
    """A validator: a size within these bounds, in bytes."""

    def check(value: object) -> int:
        size = parse_size(value)
        if not low <= size <= high:
            raise ValueError(f"must be between {format_size(low)} and {format_size(high)}")
        return size

    return check
