import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config.units import (
    duration_between,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    size_between,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("50ms", 0.05),
        ("5s", 5.0),
        ("5", 5.0),
        ("1.5s", 1.5),
        (" 10 m ", 600.0),
        ("2h", 7200.0),
        ("7d", 604_800.0),
        ("1w", 604_800.0),
        ("0", 0.0),
        (5, 5.0),
        (0.25, 0.25),
    ],
)
def test_durations_as_people_write_them(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "5 years",
        "5S",
        "-5s",
        "+5s",
        "1e3s",
        "5s5",
        "1h30m",
        "\N{ARABIC-INDIC DIGIT FIVE}s",
        ".5s",
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        -1,
        10**400,
    ],
)
def test_what_is_not_a_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be a duration such as"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.05, "50ms"),
        (0.0, "0s"),
        (0.001, "1ms"),
        (5.0, "5s"),
        (90.0, "90s"),
        (60.0, "1m"),
        (3600.0, "1h"),
        (86_400.0, "1d"),
        (604_800.0, "1w"),
        (1.5, "1.5s"),
    ],
)
def test_the_one_spelling_of_a_duration(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_every_millisecond_survives_its_spelling(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4MiB", 4 << 20),
        ("512 KiB", 512 << 10),
        ("1.5MiB", 3 << 19),
        ("10MB", 10_000_000),
        ("1kB", 1000),
        ("2GiB", 2 << 30),
        ("1GB", 10**9),
        ("100B", 100),
        ("4096", 4096),
        (4096, 4096),
        (0, 0),
    ],
)
def test_sizes_as_people_write_them(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written", ["", "MiB", "4mib", "4M", "4Mbit", "4KB", "1.5B", "0.3KiB", "-1", -1, 1.5, True, None, []]
)
def test_what_is_not_a_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be a size such as"):
        parse_size(written)


@pytest.mark.parametrize(
    ("size", "written"), [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (4 << 20, "4MiB"), (3 << 30, "3GiB")]
)
def test_the_one_spelling_of_a_size(size: int, written: str) -> None:
    assert format_size(size) == written


@given(st.integers(0, 1 << 50))
def test_every_size_survives_its_spelling(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_bounds_are_inclusive_and_named_in_words() -> None:
    delay = duration_between(0.05, 3600)
    assert (delay("50ms"), delay("1h")) == (0.05, 3600.0)
    for outside in ("49ms", "3601s", 0):
        with pytest.raises(ValueError, match=r"^must be between 50ms and 1h$"):
            delay(outside)
    size = size_between(64 << 10, 64 << 20)
    assert (size("64KiB"), size("64MiB")) == (64 << 10, 64 << 20)
    for outside in (65_535, "65MiB"):
        with pytest.raises(ValueError, match=r"^must be between 64KiB and 64MiB$"):
            size(outside)
