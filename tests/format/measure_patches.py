"""The numbers of adr/0001: bytes per message of page patches on a chat schema, by batch, group and level.

Run as `python tests/format/measure_patches.py`. Not a test: sizes depend on the version of SQLite, times
on the machine.
"""

import itertools
import random
import sqlite3
import tempfile
import time
from pathlib import Path

from syncd.archive import seal_delta, sign_bundle
from syncd.envelope.epoch import EpochKey
from syncd.envelope.keys import SigningKey
from syncd.format.bundle import Bundle
from syncd.format.delta import Delta, PatchGroup, encode_delta, make_patch
from syncd.model import Digest

PAGE = 4096
GENERATION = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ROUNDS = {1: 200, 10: 60, 100: 20, 1000: 6, 5000: 2}
VARIANTS = ((128, 3), (256, 3), (512, 1), (512, 3), (512, 6), (512, 9), (1024, 3))  # pages a group, level


def chat(path: Path, fts: bool) -> tuple[sqlite3.Connection, random.Random, list[str]]:
    rng = random.Random(7)
    words = ["".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(2, 9))) for _ in range(4000)]
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE m (id INTEGER PRIMARY KEY, room INT, sender INT, at INT, body TEXT)")
    db.execute("CREATE INDEX m_room ON m (room, at)")
    db.execute("CREATE INDEX m_sender ON m (sender, at)")
    if fts:
        db.execute("CREATE VIRTUAL TABLE f USING fts5 (body, content='m', content_rowid='id')")
        db.execute(
            "CREATE TRIGGER t AFTER INSERT ON m BEGIN"
            " INSERT INTO f (rowid, body) VALUES (new.id, new.body); END"
        )
    say(db, rng, words, 40_000)
    return db, rng, words


def say(db: sqlite3.Connection, rng: random.Random, words: list[str], count: int) -> None:
    at = db.execute("SELECT coalesce(max(at), 1790000000000) FROM m").fetchone()[0]
    rows = []
    for _ in range(count):
        at += rng.randint(1, 900)
        body = ""
        while len(body) < 130:
            body += rng.choice(words) + " "
        rows.append((rng.randrange(500), rng.randrange(200), at, body))
    with db:
        db.executemany("INSERT INTO m (room, sender, at, body) VALUES (?, ?, ?, ?)", rows)


def pages(path: Path) -> list[bytes]:
    raw = path.read_bytes()
    return [raw[at : at + PAGE] for at in range(0, len(raw), PAGE)]


def delta(old: list[bytes], new: list[bytes], per_group: int, level: int) -> tuple[Delta, float]:
    changed = [n for n in range(1, len(new) + 1) if n > len(old) or old[n - 1] != new[n - 1]]
    groups = []
    start = time.perf_counter()
    for at in range(0, len(changed), per_group):
        numbers = changed[at : at + per_group]
        before = b"".join(old[n - 1] for n in numbers if n <= len(old))
        after = b"".join(new[n - 1] for n in numbers)
        groups.append(PatchGroup(tuple(numbers), make_patch(before, after, level)))
    spent = time.perf_counter() - start
    moment = 1_790_000_000_000
    return Delta(PAGE, len(new), Digest(1 << 255), moment, moment + 900, 1, True, False, tuple(groups)), spent


def main() -> None:
    key, signing = EpochKey.generate("chat", GENERATION, 1), SigningKey.generate()
    for fts in (False, True):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "chat.sqlite3"
            db, rng, words = chat(path, fts)
            for batch, rounds in ROUNDS.items():
                states = [pages(path)]
                for _ in range(rounds):
                    say(db, rng, words, batch)
                    states.append(pages(path))
                for per_group, level in VARIANTS:
                    patch = plain = bundle = count = 0
                    spent = 0.0
                    for old, new in itertools.pairwise(states):
                        made, seconds = delta(old, new, per_group, level)
                        spent += seconds
                        count += sum(len(group.pages) for group in made.groups)
                        patch += sum(len(group.patch) for group in made.groups)
                        plain += len(encode_delta(made))
                        bundle += len(
                            sign_bundle(
                                signing,
                                Bundle("chat", GENERATION, 0, (seal_delta(key, 1000, Digest(), made),)),
                            )
                        )
                    sent = batch * rounds
                    print(
                        f"fts={fts:d} batch={batch:5} pages={count / rounds:7.1f}"
                        f" group={per_group:4} level={level:2}"
                        f"  patch/msg={patch / sent:7.1f} plain/msg={plain / sent:7.1f}"
                        f" object/msg={bundle / sent:7.1f}  object-patch={(bundle - patch) / rounds:6.1f} B"
                        f"  {spent / rounds * 1e3:6.2f} ms/batch"
                    )
            db.close()


if __name__ == "__main__":
    main()
