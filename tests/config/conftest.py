import pytest

from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity


@pytest.fixture(scope="session")
def recipient() -> str:
    return Identity.generate(Kem.X25519).recipient.to_text()
