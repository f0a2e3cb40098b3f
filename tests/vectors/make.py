"""`python -m tests.vectors.make` writes the vectors anew: the same bytes each time."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from syncd.envelope.identity import Argon2Params
from tests.envelope import cobblestone
from tests.vectors.chains import chains
from tests.vectors.maker import IDENTITY, SIGNING
from tests.vectors.objects import objects

HERE = Path(__file__).parent
PASSPHRASE = "vectors"
_PARAMS = Argon2Params(memory_kib=64, iterations=1, lanes=1)


def kit() -> str:
    """A recovery kit with a fixed salt."""
    salt = bytes(range(16))
    head = (
        b"syncdI\1\0"
        + _PARAMS.memory_kib.to_bytes(4)
        + _PARAMS.iterations.to_bytes(4)
        + bytes((_PARAMS.lanes,))
        + salt
    )
    secret = Argon2id(
        salt=salt,
        length=32,
        iterations=_PARAMS.iterations,
        lanes=_PARAMS.lanes,
        memory_cost=_PARAMS.memory_kib,
    ).derive(PASSPHRASE.encode())
    raw = head + cobblestone.seal(secret, head, IDENTITY.to_bytes(), bytes(range(24)))
    protected = base64.b64encode(raw + hashlib.sha256(raw).digest()[:4]).decode()
    lines = [
        "-----BEGIN SYNCD RECOVERY KIT-----",
        "version: 1",
        "database: chat",
        "target: file:///vectors",
        "created: 2026-11-23T10:00:00Z",
        f"verify: {SIGNING.verify_key.to_text()}",
        f"recipient: {IDENTITY.recipient.to_text()}",
        f"identity: {protected}",
        "-----END SYNCD RECOVERY KIT-----",
    ]
    return f"The passphrase of this kit is: {PASSPHRASE}\n" + "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """Every file, by name."""
    made = {"kit.txt": kit()}
    index: dict[str, dict[str, str]] = {}
    blobs: dict[str, str] = {}
    for name, chain in chains().items():
        expected = "refused" if chain.restored is None else hashlib.sha256(chain.restored).hexdigest()
        blobs |= {_blob(raw): _text(raw) for raw in chain.objects.values()}
        index[f"chains/{name}.json"] = {"what": chain.what, "expected": expected}
        made[f"chains/{name}.json"] = _json(
            {
                "what": chain.what,
                "restored": None if chain.restored is None else _text(chain.restored),
                "names": chain.names,
                "passing_over_manifests": None if chain.stays is None else _text(chain.stays),
                "head": chain.head,
                "objects": {each: _blob(raw) for each, raw in sorted(chain.objects.items())},
            }
        )
    singles: dict[str, list[dict[str, str]]] = {}
    for each in objects():
        singles.setdefault(each.kind, []).append(
            {"what": each.what, "name": each.name, "raw": _text(each.raw), "result": each.result}
        )
    for kind, vectors in singles.items():
        index[f"objects/{kind}.json"] = {"what": f"{len(vectors)} objects", "expected": "`result` of each"}
        made[f"objects/{kind}.json"] = _json(vectors)
    made["blobs.json"] = _json(dict(sorted(blobs.items())))
    made["index.json"] = _json(index)
    return made


def main() -> None:
    """Write them; what is not made any more goes."""
    made = files()
    for path in HERE.rglob("*.json"):
        if path.relative_to(HERE).as_posix() not in made:
            path.unlink()
    for name, text in made.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _blob(raw: bytes) -> str:
    """Its name in blobs.json: chains share most objects."""
    return hashlib.sha256(raw).hexdigest()[:16]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


if __name__ == "__main__":
    main()
