"""The spelling of heads."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.format.head import Head
from syncd.format.names import MAX_SEQ, generation_text
from tests.format.support import GENERATION


@given(st.binary(min_size=16, max_size=16), st.integers(0, MAX_SEQ), st.binary(max_size=100))
def test_a_head_comes_back(generation: bytes, seq: int, raw: bytes) -> None:
    head = Head.of(generation_text(generation), seq, raw)
    assert Head.parse(f" {head}\n") == head
    assert head.hash == hashlib.sha256(raw).digest()[:8]


def test_the_spelling() -> None:
    assert str(Head.of(GENERATION, 7, b"")) == f"{GENERATION}:7:e3b0c44298fc1c14"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GENERATION,
        f"{GENERATION}:7:e3b0c44298fc1c1",
        f"{GENERATION}:7:E3B0C44298FC1C14",
        f"{GENERATION}:07:e3b0c44298fc1c14",
        f"{GENERATION}:-1:e3b0c44298fc1c14",
        f"{GENERATION}:{MAX_SEQ + 1}:e3b0c44298fc1c14",
        f"8{GENERATION[1:]}:7:e3b0c44298fc1c14",
        f"{GENERATION[:-1]}U:7:e3b0c44298fc1c14",
    ],
)
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no (head|generation)"):
        Head.parse(text)
