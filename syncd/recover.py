"""Restores a database from a syncd archive without syncd: keep a copy of this file beside the recovery kit.

It needs Python 3.11 and `pip install "cryptography>=50" backports.zstd` (from Python 3.14 only the former), a local
copy of the archive, and the kit: `python recover.py --archive DIR --identity kit.txt --to FILE`. FORMAT.md of syncd
describes the bytes that it reads; this file was written from that description alone.
"""

import argparse
import base64
import contextlib
import getpass
import hashlib
import os
import re
import struct
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

try:
    from cryptography.cobblestone import Cobblestone256Decryptor
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives import hashes, hpke
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError as problem:
    sys.exit(f'recover: {problem}; try: pip install "cryptography>=50" backports.zstd')

MIB = 2**20
MAX_PAGES = 4294967294
MAX_MS = 253402300799999
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
PrivateKey = X25519PrivateKey | hpke.MLKEM768X25519PrivateKey


class Failure(Exception):
    """Why the database cannot be restored, in one line."""


def fail(why: str) -> NoReturn:
    raise Failure(why)


def main() -> int:
    parser = argparse.ArgumentParser(description="Restore a database from a syncd archive, without syncd.")
    parser.add_argument("--archive", required=True, type=Path, help="the target's directory or the database's")
    parser.add_argument("--identity", required=True, type=Path, help="the recovery kit")
    parser.add_argument("--to", required=True, type=Path, help="the file to write; it must not exist")
    parser.add_argument("--passphrase-file", type=Path, help="its first line is the passphrase; else asked for")
    parser.add_argument("--seq", type=int, help="which state; default: the newest")
    parser.add_argument("--generation", help="which generation; default: the newest that has a snapshot")
    parser.add_argument("--name", help="the database's name in the archive; default: the kit's")
    try:
        sys.stdout.write(recover(parser.parse_args()) + "\n")
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001: whatever it is, the user gets one line
        known = isinstance(problem, Failure | OSError)
        line = str(problem) if known else f"{type(problem).__name__}: {problem}"
        sys.stderr.write("recover: " + " ".join(line.split()) + "\n")
        return 1
    return 0


def recover(args: argparse.Namespace) -> str:
    for taken in (args.to, *(Path(f"{args.to}{end}") for end in ("-wal", "-shm", "-journal"))):
        if os.path.lexists(taken):
            fail(f"{taken} exists; nothing was written")
    kit = read_kit(args.identity)
    identity = open_identity(kit["identity"], ask_passphrase(args.passphrase_file))
    name = args.name or kit["database"]
    if not re.fullmatch(NAME, name):
        fail(f"{name!r} is not the name of a database")
    verify = Ed25519PublicKey.from_public_bytes(decode_key("verify", kit["verify"]))
    archive = Archive(args.archive, name, args.generation, verify, identity)
    with new_file(args.to) as file:
        snapshot, state = restore_snapshot(archive, args.seq, file)
        last = last_state(archive, snapshot, state.digest, args.seq)
        for delta in deltas(archive, snapshot + 1, last, state.digest):
            with about(f"delta {delta.seq}"):
                state = apply(file, state, delta)
        if file_digest(file, state) != state.digest:
            fail("what was written cannot be read back")
    return f"{args.to}: database {name}, generation {archive.generation}, seq {last}, {state.pages} pages of {state.size}"


# ---- From states to the file ----


class State(NamedTuple):
    size: int  # of a page
    pages: int
    digest: int


class Delta(NamedTuple):
    seq: int
    boundary: bool
    rebase: bool
    after: State
    groups: list[tuple[list[int], bytes]]


def restore_snapshot(archive: "Archive", wanted: int | None, file: BinaryIO) -> tuple[int, State]:
    """Writes the newest snapshot up to the wanted state; an older one if that is damaged and deltas lead on from it."""
    seqs = [seq for seq in archive.numbers("snapshots") if wanted is None or seq <= wanted]
    problem = Failure(f"generation {archive.generation} has no snapshot for this")
    for seq in reversed(seqs):
        try:
            state = write_snapshot(archive, seq, file)
            if seq != seqs[-1]:
                last_state(archive, seq, state.digest, seqs[-1])
                sys.stderr.write(f"recover: note: using snapshot {seq}; {problem}\n")
        except Failure as found:
            problem = found if seq == seqs[-1] else problem
            file.truncate(0)
        else:
            return seq, state
    raise problem


def write_snapshot(archive: "Archive", seq: int, file: BinaryIO) -> State:
    with about(f"snapshots/{seq:016x}"):
        state, packs, runs = archive.manifest(seq)
    for index, (pack, size, sha256, count) in enumerate(packs):
        with about(f"packs/{pack.hex()}"):
            numbers, images = archive.pack(pack, size, sha256, state.size)
            if len(numbers) != count:
                fail("another number of pages than in the manifest")
            for first, length, offset in runs[index]:
                if numbers[offset : offset + length] != list(range(first, first + length)):
                    fail("other pages than in the manifest")
                file.seek((first - 1) * state.size)
                file.write(images[offset * state.size : (offset + length) * state.size])
    if file_digest(file, state) != state.digest:
        fail(f"snapshots/{seq:016x}: its pages have another digest")
    return state


def last_state(archive: "Archive", snapshot: int, digest: int, wanted: int | None) -> int:
    """The wanted state, or the newest: the last one that was committed. Follows the whole chain, applies nothing."""
    last = end = snapshot
    try:
        for delta in deltas(archive, snapshot + 1, wanted, digest):
            end = delta.seq
            last = end if delta.boundary else last
    except Failure as problem:
        fail(f"{problem} (--seq {last} is the last state before that)")
    if wanted is not None and end < wanted:
        fail(f"there is no state {wanted}; the newest is {last}")
    if wanted is not None and last < wanted:
        fail(f"state {wanted} is a piece of a larger change; the one before it is {last}")
    return last


def deltas(archive: "Archive", seq: int, last: int | None, digest: int) -> Iterator[Delta]:
    """Opens the deltas from seq to last one after the other, across bundles; the digest is of the state before."""
    firsts = archive.numbers("deltas")
    for first in firsts[max(0, sum(number <= seq for number in firsts) - 1) :]:
        if last is not None and seq > last:
            return
        if first > seq:
            fail(f"deltas {seq} to {first - 1} are missing")
        with about(f"deltas/{first:016x}"):
            bundle = archive.bundle(first)
        if first + len(bundle) > seq and first < seq and firsts[0] < first and digest < 0:
            fail("unreachable")
        for number, (epoch, sealed) in enumerate(bundle, first):
            if number == seq and (last is None or seq <= last):
                with about(f"delta {seq}"):
                    label = struct.pack(">Q", seq) + digest.to_bytes(32, "big")
                    delta = read_delta(seq, archive.unseal(epoch, "delta", label, sealed))
                yield delta
                seq, digest = seq + 1, delta.after.digest


def apply(file: BinaryIO, before: State, delta: Delta) -> State:
    size, old_pages, digest = before
    if delta.rebase:
        size, old_pages, digest = delta.after.size, 0, 0
        file.truncate(0)
    if delta.after.size != size:
        fail("another page size than the state before")
    fresh = sum(number > old_pages for numbers, _ in delta.groups for number in numbers)
    if fresh != max(0, delta.after.pages - old_pages):
        fail("leaves out new pages")
    for numbers, patch in delta.groups:
        old = [read_page(file, number, size) for number in numbers if number <= old_pages]
        digest -= sum(map(page_digest, numbers, old))
        images = decompress(patch, len(numbers) * size, b"".join(old))
        for index, number in enumerate(numbers):
            image = images[index * size : (index + 1) * size]
            digest += page_digest(number, image)
            file.seek((number - 1) * size)
            file.write(image)
    for number in range(delta.after.pages + 1, old_pages + 1):
        digest -= page_digest(number, read_page(file, number, size))
    file.truncate(delta.after.pages * size)
    if digest % 2**256 != delta.after.digest:
        fail("does not lead to the state that it says")
    return delta.after


def read_page(file: BinaryIO, number: int, size: int) -> bytes:
    file.seek((number - 1) * size)
    image = file.read(size)
    return image if len(image) == size else fail(f"page {number} of the new file cannot be read back")


def page_digest(number: int, image: bytes) -> int:
    return int.from_bytes(hashlib.sha256(struct.pack(">I", number) + image).digest(), "big")


def file_digest(file: BinaryIO, state: State) -> int:
    return sum(page_digest(n, read_page(file, n, state.size)) for n in range(1, state.pages + 1)) % 2**256


def decompress(frame: bytes, size: int, prefix: bytes = b"") -> bytes:
    if frame[:5] != b"\x28\xb5\x2f\xfd\x00":
        fail("not a zstd frame without content size, checksum and dictionary id")
    dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    decompressor = zstd.ZstdDecompressor(dictionary, {zstd.DecompressionParameter.window_log_max: 23})
    try:
        data = decompressor.decompress(frame, size + 1)
    except zstd.ZstdError as problem:
        fail(str(problem))
    if len(data) != size or not decompressor.eof or decompressor.unused_data:
        fail("the zstd frame has another size")
    return data


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A temporary file that gets its name at the end, if all went well and nobody took the name."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".recover", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError:
            fail(f"{target} exists; nothing was written")
        except OSError:  # a file system without links
            if os.path.lexists(target):
                fail(f"{target} exists; nothing was written")
            Path(temporary).rename(target)
    finally:
        Path(temporary).unlink(missing_ok=True)


# ---- Objects ----


class Reader:
    """Takes fields off the front of some bytes, and refuses what is short, long, or spelled in another way."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left():
            fail("ends early")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self, least: int = 0, most: int = 2**64 - 1) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                fail("a number of more than 64 bits")
        if byte == 0 and shift > 7:
            fail("a number that is longer than needed")
        return value if least <= value <= most else fail(f"{value} where {least} to {most} is allowed")

    def u8(self, least: int, most: int) -> int:
        value = self.take(1)[0]
        return value if least <= value <= most else fail(f"{value} where {least} to {most} is allowed")

    def sized(self) -> bytes:
        return self.take(self.varint())

    def count(self, least: int = 0) -> int:
        return self.varint(least, self.left())

    def numbers(self, before: int, least_limit: int) -> list[int]:
        raise NotImplementedError
