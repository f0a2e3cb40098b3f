"""Restores a database from a syncd archive without syncd: keep a copy of this file beside the recovery kit.

It needs Python 3.11, `pip install "cryptography>=50" backports.zstd` (from Python 3.14 on only the former), a
local copy of the archive, and the kit: `python recover.py --archive DIR --identity kit.txt --to FILE`. What
it reads is described in syncd's FORMAT.md, and it was written from that description alone.
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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

try:
    from cryptography.cobblestone import Cobblestone256Decryptor
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives import hashes, hpke
    from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
    from cryptography.hazmat.primitives.kdf import argon2, hkdf

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError as problem:
    sys.exit(f'recover: {problem}; try: pip install "cryptography>=50" backports.zstd')

__all__ = ["main"]
MIB, MAX_U32, MAX_U64, MAX_PAGES, MAX_MS = 2**20, 2**32 - 1, 2**64 - 1, 2**32 - 2, 253402300799999
BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NAME, ULID = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", f"[0-7][{BASE32}]{{25}}"
BEGIN, END = "-----BEGIN SYNCD RECOVERY KIT-----", "-----END SYNCD RECOVERY KIT-----"
KIT = ("version", "database", "target", "created", "verify", "recipient", "identity", "endpoint")
PrivateKey = x25519.X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
Owner = tuple[hpke.KEM, PrivateKey, bytes]  # the bytes: number of the KEM, fingerprint
Verify = ed25519.Ed25519PublicKey


class Failure(Exception):
    """Why the database cannot be restored, in one line."""


class State(NamedTuple):
    size: int  # of a page
    pages: int
    digest: int


def main() -> int:
    """Restores what the arguments ask for, and says in one line how it went."""
    parser = argparse.ArgumentParser(description="Restore a database from a syncd archive, without syncd.")
    parser.add_argument("--archive", required=True, type=Path, help="directory of the target or the database")
    parser.add_argument("--identity", required=True, type=Path, help="the recovery kit")
    parser.add_argument("--to", required=True, type=Path, help="the file to write; it must not exist")
    parser.add_argument("--passphrase-file", type=Path, help="its first line is the passphrase")
    parser.add_argument("--seq", type=int, help="which state; default: the newest")
    parser.add_argument("--generation", help="which generation; default: the newest that has a snapshot")
    parser.add_argument("--name", help="name of the database in the archive; default: the kit's")
    try:
        sys.stdout.write(recover(parser.parse_args()) + "\n")
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 (the user gets one line)
        kind = "" if isinstance(problem, Failure | OSError) else f"{type(problem).__name__} "
        sys.stderr.write("recover: " + " ".join(f"{kind}{problem}".split()) + "\n")
        return 1
    return 0


def recover(args: argparse.Namespace) -> str:
    for taken in (f"{args.to}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")):
        check(not os.path.lexists(taken), f"{taken} exists; nothing was written")
    with about(str(args.identity)):
        kit = read_kit(args.identity)
        verify = Verify.from_public_bytes(read_key("verify", kit["verify"]))
        owner = read_identity(kit["identity"], ask_passphrase(args.passphrase_file))
    archive = Archive(args.archive, args.name or kit["database"], args.generation, verify, owner)
    handle, temporary = tempfile.mkstemp(prefix=f".{args.to.name}.", suffix=".recover", dir=args.to.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            seq, state = restore(archive, args.seq, file)
            file.flush()
            os.fsync(handle)
        args.to.touch(exist_ok=False)  # takes the name, or fails
        Path(temporary).replace(args.to)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return f"{args.to}: {archive.name} {archive.generation}, seq {seq}, {state.pages} pages of {state.size}"


def restore(archive: "Archive", wanted: int | None, file: BinaryIO) -> tuple[int, State]:
    """Writes the wanted state, or the newest committed one, to the file."""
    seqs = [seq for seq in numbers_in(archive.folder / "snapshots") if wanted is None or seq <= wanted]
    check(bool(seqs), f"generation {archive.generation} has no snapshot to start from")
    last = seq = seqs[-1]
    state = write_snapshot(archive, seq, file)
    try:
        for epoch, sealed in deltas(archive, seq + 1, wanted):
            with about(f"delta {seq + 1}"):
                label = struct.pack(">Q", seq + 1) + state.digest.to_bytes(32)
                committed, state = apply_delta(archive.unseal(epoch, b"delta", label, sealed), state, file)
            seq += 1
            last = seq if committed else last
    except Failure as problem:
        raise Failure(f"{problem} (the last state before that: --seq {last})") from None
    check(wanted in {None, seq}, f"there is no state {wanted}; the last one: --seq {last}")
    check(wanted in {None, last}, f"state {wanted} is a piece of a larger change; before it: --seq {last}")
    return (seq, state) if last == seq else restore(archive, last, file)


def write_snapshot(archive: "Archive", seq: int, file: BinaryIO) -> State:
    with about(path := f"snapshots/{seq:016x}"):
        fields = archive.signed(path, b"M", b"manifest", 64 * MIB)
        check(fields.varint() == seq, "belongs to another seq")
        epoch, _, _ = fields.varint(0, MAX_U32), fields.varint(0, MAX_MS), fields.varint(0, MAX_MS)
        size, pages = 1 << fields.u8(9, 16), fields.varint(0, MAX_PAGES)
        packs, runs, page = [], list[list[tuple[range, int]]](), 1
        for _ in range(fields.varint()):
            pack, length, sha256 = fields.take(16), fields.varint(), fields.take(32)
            packs.append((pack, length, sha256, fields.varint(1, 16 * MIB // size)))
            runs.append([])
        for _ in range(fields.varint()):
            run = range(page, page := page + fields.varint(1, MAX_PAGES))
            index, offset = fields.varint(0, len(packs) - 1), fields.varint()
            check(offset + len(run) <= packs[index][3], "has a run that passes the end of its pack")
            runs[index].append((run, offset))
        check(page == pages + 1, "has runs that do not end at the last page")
        check(all(runs) and len({pack[0] for pack in packs}) == len(packs), "names a pack twice or in vain")
        label = struct.pack(">Q", seq) + hashlib.sha256(fields.data[: fields.at]).digest()
        plain = archive.unseal(epoch, b"digest", label, fields.sized())
        check(len(plain) == 32, "has a digest of another size")
        fields.end()
    file.truncate(0)
    total = 0
    for (pack, length, sha256, count), placed in zip(packs, runs, strict=True):
        with about(path := f"packs/{pack.hex()}"):
            data = archive.read(path, b"P", 17 * MIB)
            check(len(data) == length and hashlib.sha256(data).digest() == sha256, "is not the manifest's")
            fields = Reader(data, 8)
            fields = Reader(archive.unseal(fields.varint(0, MAX_U32), b"pack", pack, fields.rest()))
            check(1 << fields.u8(9, 16) == size, "has another page size than the manifest")
            numbers = fields.page_numbers(0, 16 * MIB // size, MAX_PAGES)
            check(len(numbers) == count, "has another number of pages than in the manifest")
            images = split(decompress(fields.rest(), count * size), size)
            for run, offset in placed:
                part = slice(offset, offset + len(run))
                check(numbers[part] == list(run), "has other pages than in the manifest")
                write_pages(file, run, images[part])
                total += digest(run, images[part])
    check(total % 2**256 == int.from_bytes(plain), f"snapshots/{seq:016x} has another digest than its pages")
    return State(size, pages, int.from_bytes(plain))


def deltas(archive: "Archive", seq: int, wanted: int | None) -> Iterator[tuple[int, bytes]]:
    """The sealed deltas from seq to the wanted one or the end, each with its epoch; without a gap."""
    firsts = numbers_in(archive.folder / "deltas")
    start = max((first for first in firsts if first <= seq), default=seq)
    for first in (first for first in firsts if first >= start):
        if wanted is not None and seq > wanted:
            return
        with about(f"deltas/{first:016x}"):
            check(first in {start, seq}, f"does not follow on delta {seq - 1}")
            fields = archive.signed(f"deltas/{first:016x}", b"D", b"bundle", 64 * MIB)
            check(fields.varint() == first, "belongs to another seq")
            fields.varint(0, MAX_MS)
            count = fields.varint(1, MAX_U64 - first + 1)
            bundle = [(fields.varint(0, MAX_U32), fields.sized()) for _ in range(count)]
            fields.end()
        for delta in bundle[seq - first :]:
            if wanted is None or seq <= wanted:
                yield delta
                seq += 1


def apply_delta(plain: bytes, before: State, file: BinaryIO) -> tuple[bool, State]:
    """Changes the file from one state to the next; tells whether that is a committed one."""
    fields = Reader(plain)
    flags = fields.u8(0, 31)
    after = State(512 << (flags & 7), fields.varint(0, MAX_PAGES), int.from_bytes(fields.take(32)))
    fields.varint(0, MAX_MS - fields.varint(0, MAX_MS))
    fields.varint()
    if flags & 16:
        file.truncate(0)
    size, old_pages, total = (after.size, 0, 0) if flags & 16 else before
    check(after.size == size, "has another page size than the state before")
    number = fresh = 0
    for _ in range(fields.varint()):
        numbers = fields.page_numbers(number, 4 * MIB // size, after.pages)
        number, patch = numbers[-1], fields.sized()
        check(len(patch) <= 4227072, "has a patch that is too large")
        old = list(read_pages(file, [number for number in numbers if number <= old_pages], size))
        new = split(decompress(patch, len(numbers) * size, b"".join(old)), size)
        write_pages(file, numbers, new)
        total += digest(numbers, new) - digest(numbers, old)
        fresh += len(new) - len(old)
    fields.end()
    check(fresh == max(0, after.pages - old_pages), "leaves out new pages")
    dropped = range(after.pages + 1, old_pages + 1)
    total -= digest(dropped, read_pages(file, dropped, size))
    file.truncate(after.pages * size)
    check(total % 2**256 == after.digest, "leads to another state than it says")
    return bool(flags & 8), after


def read_pages(file: BinaryIO, numbers: Iterable[int], size: int) -> Iterator[bytes]:
    for number in numbers:
        file.seek((number - 1) * size)
        yield file.read(size)


def write_pages(file: BinaryIO, numbers: Iterable[int], images: list[bytes]) -> None:
    for number, image in zip(numbers, images, strict=True):
        file.seek((number - 1) * len(image))
        file.write(image)


def split(images: bytes, size: int) -> list[bytes]:
    return [images[at : at + size] for at in range(0, len(images), size)]


def digest(numbers: Iterable[int], images: Iterable[bytes]) -> int:
    """The sum over pages, as many as there are images; not yet modulo 2^256."""
    pages = (struct.pack(">I", number) + image for number, image in zip(numbers, images, strict=False))
    return sum(int.from_bytes(hashlib.sha256(page).digest()) for page in pages)


def decompress(frame: bytes, size: int, prefix: bytes = b"") -> bytes:
    check(frame[:5] == b"\x28\xb5\x2f\xfd\0", "has no zstd frame without size, checksum and dictionary id")
    dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    decompressor = zstd.ZstdDecompressor(dictionary, {zstd.DecompressionParameter.window_log_max: 23})
    data = decompressor.decompress(frame, size + 1)
    check(len(data) == size and decompressor.eof, "has a zstd frame of another size")
    check(not decompressor.unused_data, "has bytes after the zstd frame")
    return data


class Archive:
    """The objects of one generation: read, checked, opened."""

    def __init__(self, top: Path, name: str, generation: str | None, verify: Verify, owner: Owner) -> None:
        check(bool(re.fullmatch(NAME, name)), f"{name!r} cannot be the name of a database")
        below = top / name / "generations"
        below = below if below.is_dir() else top / "generations"
        found = [ulid for ulid in os.listdir(below) if re.fullmatch(ULID, ulid)]  # noqa: PTH208
        found = [ulid for ulid in found if numbers_in(below / ulid / "snapshots")]
        found = [ulid for ulid in found if generation in {None, ulid}]
        check(bool(found), f"{below} has no generation {generation or ''} with a snapshot")
        self.name, self.generation, self.folder = name, max(found), below / max(found)
        self.verify, (self.kem, self.private, self.recipient) = verify, owner
        self.secrets: dict[int, bytes] = {}

    def read(self, path: str, kind: bytes, limit: int) -> bytes:
        with (self.folder / path).open("rb") as file:
            data = file.read(limit + 1)
        check(len(data) <= limit, "is too large")
        check(data[:6] + data[7:8] == b"syncd" + kind + b"\0", "is another kind of file")
        check(data[6] == 1, f"has format version {data[6]}, this program reads version 1")
        return data

    def signed(self, path: str, kind: bytes, word: bytes, limit: int) -> "Reader":
        """The fields of a signed object that follow on the database and generation."""
        data = self.read(path, kind, limit)
        self.verify.verify(data[-64:], b"syncd v1 " + word + b"\0" + data[:-64])
        fields = Reader(data[:-64], 8)
        ulid = sum(BASE32.index(letter) << 5 * (25 - at) for at, letter in enumerate(self.generation))
        check(fields.sized() == self.name.encode(), "belongs to another database")
        check(fields.take(16) == ulid.to_bytes(16), "belongs to another generation")
        return fields

    def secret(self, epoch: int) -> bytes:
        """The secret of an epoch, unwrapped with the private key of the kit."""
        with about(path := f"epochs/{epoch:08x}"):
            fields = self.signed(path, b"E", b"epoch", MIB)
            check(fields.varint() == epoch, "belongs to another epoch")
            fields.varint(0, MAX_MS)
            # The first byte of each is the KEM, the other 16 are the fingerprint.
            wraps = [(fields.take(17), fields.sized()) for _ in range(fields.varint(1))]
            fields.end()
            check(len({who[1:] for who, _ in wraps}) == len(wraps), "has two wraps for one recipient")
            check(all(who[0] for who, _ in wraps), "has a wrap of KEM 0")
            check(self.recipient in dict(wraps), "has no wrap for this kit")
            suite = hpke.Suite(self.kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
            info = self.context(epoch, b"wrap", self.recipient[1:])
            secret = suite.decrypt(dict(wraps)[self.recipient], self.private, info)
            check(len(secret) == 32, "has a secret of another size")
        return secret

    def unseal(self, epoch: int, kind: bytes, label: bytes, sealed: bytes) -> bytes:
        self.secrets[epoch] = self.secrets.get(epoch) or self.secret(epoch)
        key = hkdf.HKDF(hashes.SHA256(), 32, None, b"syncd v1 key " + kind).derive(self.secrets[epoch])
        return open_sealed(key, self.context(epoch, kind, label), sealed)

    def context(self, epoch: int, kind: bytes, label: bytes) -> bytes:
        parts = self.name.encode(), self.generation.encode(), struct.pack(">I", epoch), kind, label
        return b"syncd v1" + b"".join(struct.pack(">I", len(part)) + part for part in parts)


class Reader:
    """Takes fields off the front of some bytes; refuses what is short, long or spelled in another way."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> bytes:
        self.at += size
        check(self.at <= len(self.data), "ends early")
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def end(self) -> None:
        check(not self.rest(), "ends late")

    def u8(self, least: int, most: int) -> int:
        return within(least, self.take(1)[0], most)

    def varint(self, least: int = 0, most: int = MAX_U64) -> int:
        value, shift, byte = 0, 0, 128
        while byte > 127:
            byte = self.take(1)[0]
            check(shift < 64 and (byte > 0 or shift == 0), "has a number that is longer than needed")
            value, shift = value | (byte & 127) << shift, shift + 7
        return within(least, value, most)

    def sized(self) -> bytes:
        return self.take(self.varint())

    def page_numbers(self, number: int, pages: int, last: int) -> list[int]:
        return [number := within(1, number + 1 + self.varint(), last) for _ in range(self.varint(1, pages))]


def numbers_in(folder: Path) -> list[int]:
    names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
    return sorted(int(name, 16) for name in names if re.fullmatch("[0-9a-f]{16}", name))


def read_kit(path: Path) -> dict[str, str]:
    """The values between the lines BEGIN and END, by name, without line breaks."""
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(2**18 + 1)
    check(len(text) <= 2**18, "is too large")
    lines = "\n".join(map(str.strip, text.split("\n"))) + "\n"
    block = re.search(f"^{BEGIN}\n(.*?)^{END}\n", lines, re.MULTILINE | re.DOTALL)
    check(block is not None, "has no line BEGIN, or no line END after it")
    start, *pairs = re.split(f"^({'|'.join(KIT)}):", block[1] if block else "", flags=re.MULTILINE)
    names, values = pairs[::2], [value.replace("\n", "").strip() for value in pairs[1::2]]
    check(not start.strip(), "has a line without a name after BEGIN")
    for name in KIT:
        check(names.count(name) < 2, f"has the line {name!r} twice")
        check(name in names or name == "endpoint", f"has no line {name!r}")
    kit = dict(zip(names, values, strict=True))
    check(kit["version"] == "1", f"has version {kit['version']}, this program reads version 1")
    return kit


def read_key(label: str, text: str) -> bytes:
    head, text = f"syncd-{label}-", "".join(text.split())
    data = base64.b64decode(text.removeprefix(head), b"-_", validate=True)
    good = text.startswith(head) and hashlib.sha256(head.encode() + data[:-4]).digest()[:4] == data[-4:]
    check(good, f"has a damaged {label} key")
    return data[:-4]


def read_identity(text: str, passphrase: str) -> Owner:
    """The KEM, the private key, and what names its owner in an epoch: number of the KEM and fingerprint."""
    data = base64.b64decode("".join(text.split()), validate=True)
    check(hashlib.sha256(data[:-4]).digest()[:4] == data[-4:] and len(data) > 37, "has a damaged identity")
    check(data[:8] == b"syncdI\1\0", "has an identity of another version")
    memory, iterations, lanes = struct.unpack(">IIB", data[8:17])
    costs = {"memory_cost": within(8 * within(1, lanes, 64), memory, 2**20), "lanes": lanes}
    key = argon2.Argon2id(salt=data[17:33], length=32, iterations=within(1, iterations, 64), **costs)
    secret = key.derive(unicodedata.normalize("NFC", passphrase).encode())
    try:
        plain = open_sealed(secret, data[:33], data[33:-4])
    except InvalidTag:
        raise Failure("is protected by another passphrase") from None
    check((plain[:1], len(plain)) in {(b"\1", 33), (b"\2", 97)}, "has a private key of another kind")
    x = x25519.X25519PrivateKey.from_private_bytes(plain[-32:])
    private: PrivateKey = x
    kem, public = hpke.KEM.X25519, x.public_key().public_bytes_raw()
    if plain[0] == 2:
        ml = mlkem.MLKEM768PrivateKey.from_seed_bytes(plain[1:65])
        kem, private = hpke.KEM.MLKEM768_X25519, hpke.MLKEM768X25519PrivateKey(ml, x)
        public = ml.public_key().public_bytes_raw() + public
    fingerprint = hashlib.sha256(b"syncd recipient v1\0" + plain[:1] + public).digest()[:16]
    return kem, private, plain[:1] + fingerprint


def ask_passphrase(path: Path | None) -> str:
    """The first line of a file, or what the user types."""
    if path is None:
        return getpass.getpass("Passphrase of the kit: ")
    return path.read_bytes().decode().partition("\n")[0].removesuffix("\r")


def open_sealed(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """The plaintext of a Cobblestone-256 message, once all of it was checked."""
    opener = Cobblestone256Decryptor(key, context)
    return bytes(opener.update(sealed) + opener.finalize())


def check(holds: bool, why: str) -> None:
    if not holds:
        raise Failure(why)


def within(least: int, value: int, most: int) -> int:
    check(least <= value <= most, f"has {value} where {least} to {most} is allowed")
    return value


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Says in a failure what it is about."""
    try:
        yield
    except InvalidTag:
        raise Failure(f"{what}: does not open; it is damaged, or from another place") from None
    except InvalidSignature:
        raise Failure(f"{what}: is not signed by the daemon of this kit") from None
    except (Failure, OSError, ValueError, zstd.ZstdError) as problem:
        raise Failure(f"{what}: {problem}") from None


if __name__ == "__main__":
    sys.exit(main())
