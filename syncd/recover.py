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
import itertools
import os
import re
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, padding, rsa, x25519
from cryptography.hazmat.primitives.kdf import argon2, hkdf

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["main"]
BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BEGIN, END = "-----BEGIN SYNCD RECOVERY KIT-----\n", "\n-----END SYNCD RECOVERY KIT-----\n"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
DER = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
Unwrap = Callable[[bytes, bytes], bytes]


def main() -> None:
    """Restores what the arguments ask for, and says in one line how it went."""
    parser = argparse.ArgumentParser(description="Restore a database from a syncd archive, without syncd.")
    parser.add_argument("--archive", required=True, type=Path, help="directory of the target or the database")
    parser.add_argument("--identity", required=True, type=Path, help="the recovery kit")
    parser.add_argument("--to", required=True, type=Path, help="the file to write; it must not exist")
    parser.add_argument("--passphrase-file", type=Path, help="its first line is the passphrase")
    parser.add_argument("--rsa-key", type=Path, help="a private key (PEM) in the place of the kit's identity")
    parser.add_argument("--seq", type=int, help="which state; default: the newest")
    parser.add_argument("--generation", help="which generation; default: the newest that has a snapshot")
    parser.add_argument("--name", help="name of the database in the archive; default: the kit's")
    try:
        sys.stdout.write(recover(parser.parse_args()) + "\n")
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 (the user gets one line)
        kind = "" if isinstance(problem, ValueError | OSError) else f"{type(problem).__name__} "
        sys.exit("recover: " + " ".join(f"{kind}{problem}".split()))


def recover(args: argparse.Namespace) -> str:
    for taken in (f"{args.to}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")):
        check(not os.path.lexists(taken), f"{taken} exists; nothing was written")
    with about(str(args.identity)):
        kit = read_kit(args.identity)
        verify = read_key(kit["verify"])
        who, unwrap = open_rsa(args) if args.rsa_key else open_identity(kit["identity"], ask_passphrase(args))
    archive = Archive(args, args.name or kit["database"], verify, who, unwrap)
    partial = args.to.with_name(f".{args.to.name}.{os.getpid()}.recover")
    try:
        with partial.open("x+b") as file:
            pages = Pages(file)
            seq = restore(archive, args.seq, pages)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(args.to)
    finally:
        partial.unlink(missing_ok=True)
    return f"{args.to}: {archive.name} {archive.generation}, seq {seq}, {pages.count} pages of {pages.size}"


def restore(archive: "Archive", wanted: int | None, pages: "Pages") -> int:
    seqs = [seq for seq in numbers_in(archive.folder / "snapshots") if wanted is None or seq <= wanted]
    check(bool(seqs), f"generation {archive.generation} has no snapshot to start from")
    last = seq = seqs[-1]
    with about(f"snapshots/{seq:016x}"):
        write_snapshot(archive, seq, pages)
    try:
        for epoch, sealed in deltas(archive, seq + 1, wanted):
            with about(f"delta {seq + 1}"):
                label = struct.pack(">Q", seq + 1) + pages.digest()
                committed = apply_delta(Fields(archive.unseal(epoch, b"delta", label, sealed)), pages)
            seq += 1
            last = seq if committed else last
    except ValueError as problem:
        raise ValueError(f"{problem} (the last state before that: --seq {last})") from None
    check(wanted in {None, seq}, f"there is no state {wanted}; the last one: --seq {last}")
    check(wanted in {None, last}, f"state {wanted} is a piece of a larger change; before it: --seq {last}")
    return seq if last == seq else restore(archive, last, pages)


def write_snapshot(archive: "Archive", seq: int, pages: "Pages") -> None:
    fields = archive.signed(f"snapshots/{seq:016x}", b"M", b"manifest")
    check(fields.varint() == seq, "belongs to another seq")
    epoch, _, _, size, count = *fields.varints(3), 1 << fields.take(1)[0], fields.varint()
    packs = [(fields.take(16), fields.varint(), fields.take(32), *fields.varints(2)) for _ in fields.count()]
    runs, page = list[tuple[int, int, int, int]](), 1
    for _ in fields.count():
        length, pack, offset = fields.varints(3)
        runs.append((pack, offset, page, length))
        page += length
    label = struct.pack(">Q", seq) + hashlib.sha256(fields.data[: fields.at]).digest()
    digest = archive.unseal(epoch, b"digest", label, fields.sized())
    pages.begin(size)
    for index, group in itertools.groupby(sorted(runs), lambda run: run[0]):
        pack_id, _, sha256, many, _ = packs[index]
        with about(f"packs/{pack_id.hex()}"):
            data = archive.read(f"packs/{pack_id.hex()}", b"P")
            check(hashlib.sha256(data).digest() == sha256, "is not the one that the manifest names")
            fields = Fields(data[8:])
            fields = Fields(archive.unseal(fields.varint(), b"pack", pack_id, fields.data[fields.at :]))
            size_of_pages, numbers = 1 << fields.take(1)[0], fields.page_numbers(0)
            check((size_of_pages, len(numbers)) == (size, many), "has other pages than the manifest says")
            images = decompress(fields.data[fields.at :], len(numbers) * size)
            for _, offset, page, length in group:
                there = numbers[offset : offset + length]
                check(there == [*range(page, page + len(there))] and len(there) == length, "lacks a page")
                pages.put(there, images[offset * size : (offset + length) * size])
    pages.count = count
    check(pages.digest() == digest, "has another digest than its pages")


def deltas(archive: "Archive", seq: int, wanted: int | None) -> Iterator[tuple[int, bytes]]:
    firsts = numbers_in(archive.folder / "deltas")
    start = max((first for first in firsts if first <= seq), default=seq)
    for first in (first for first in firsts if first >= start and (wanted is None or first <= wanted)):
        with about(path := f"deltas/{first:016x}"):
            check(first in {start, seq}, f"does not follow on delta {seq - 1}")
            fields = archive.signed(path, b"D", b"bundle")
            check(fields.varints(2)[0] == first, "belongs to another seq")
            bundle = [(fields.varint(), fields.sized()) for _ in fields.count()]
        yield from bundle[seq - first : None if wanted is None else wanted + 1 - first]
        seq = first + len(bundle)


def apply_delta(fields: "Fields", pages: "Pages") -> bool:
    """Changes the pages from one state to the next; tells whether that is a committed one."""
    flags, count, digest = fields.take(1)[0], fields.varint(), fields.take(32)
    fields.varints(3)  # first and last change, commits
    if flags & 16 or not pages.count:
        pages.begin(512 << (flags & 7))
    check(512 << (flags & 7) == pages.size, "has another page size than the state before")
    numbers = [0]
    for _ in fields.count():
        numbers = fields.page_numbers(numbers[-1])
        old = b"".join(pages.get(number) for number in numbers)
        pages.put(numbers, decompress(fields.sized(), len(numbers) * pages.size, old))
    pages.cut(count)
    check(pages.digest() == digest, "leads to another state than it says")
    return bool(flags & 8)


def decompress(frame: bytes, size: int, prefix: bytes = b"") -> bytes:
    dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    decompressor = zstd.ZstdDecompressor(dictionary, {zstd.DecompressionParameter.window_log_max: 23})
    data = decompressor.decompress(frame, size + 1)
    check(len(data) == size and decompressor.eof and not decompressor.unused_data, "has another zstd frame")
    return data


class Pages:
    """The file that is made: pages of one size, their count, and the sum of their hashes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.count, self.total = file, 0, 0, 0

    def begin(self, size: int) -> None:
        self.size, self.count, self.total = size, 0, 0
        self.file.truncate(0)

    def get(self, number: int) -> bytes:
        self.file.seek((number - 1) * self.size)
        return self.file.read(self.size) if number <= self.count else b""

    def put(self, numbers: list[int], images: bytes) -> None:
        for at, number in enumerate(numbers):
            image = images[at * self.size : (at + 1) * self.size]
            self.total += page_hash(number, image) - page_hash(number, self.get(number))
            self.file.seek((number - 1) * self.size)
            self.file.write(image)

    def cut(self, count: int) -> None:
        self.total -= sum(page_hash(number, self.get(number)) for number in range(count + 1, self.count + 1))
        self.file.truncate(count * self.size)
        self.count = count

    def digest(self) -> bytes:
        return (self.total % 2**256).to_bytes(32)


def page_hash(number: int, image: bytes) -> int:
    return int.from_bytes(hashlib.sha256(struct.pack(">I", number) + image).digest()) if image else 0


class Archive:
    def __init__(
        self, args: argparse.Namespace, name: str, verify: bytes, who: bytes, unwrap: Unwrap
    ) -> None:
        generation, below = args.generation, args.archive / name / "generations"
        below = below if below.is_dir() else args.archive / "generations"
        found = [path for path in below.iterdir() if re.fullmatch(f"[0-7][{BASE32}]{{25}}", path.name)]
        found = [path for path in found if numbers_in(path / "snapshots") and generation in {None, path.name}]
        check(bool(found), f"{below} has no generation {generation or ''} with a snapshot")
        self.name, self.generation, self.folder = name, max(found).name, max(found)
        self.verify = ed25519.Ed25519PublicKey.from_public_bytes(verify)
        self.who, self.unwrap, self.secrets = who, unwrap, dict[int, bytes]()

    def read(self, path: str, kind: bytes) -> bytes:
        data: bytes = (self.folder / path).read_bytes()
        check(data[:6] + data[7:8] == b"syncd" + kind + b"\0", "is another kind of file")
        check(data[6] == 1, f"has format version {data[6]}, this program reads version 1")
        return data

    def signed(self, path: str, kind: bytes, word: bytes) -> "Fields":
        """The fields of a signed object that follow on the database and generation."""
        data = self.read(path, kind)
        self.verify.verify(data[-64:], b"syncd v1 " + word + b"\0" + data[:-64])
        fields = Fields(data[:-64], 8)
        ulid = sum(BASE32.index(letter) << 5 * (25 - at) for at, letter in enumerate(self.generation))
        check(fields.sized() == self.name.encode(), "belongs to another database")
        check(fields.take(16) == ulid.to_bytes(16), "belongs to another generation")
        return fields

    def secret(self, epoch: int) -> bytes:
        with about(path := f"epochs/{epoch:08x}"):
            fields = self.signed(path, b"E", b"epoch")
            check(fields.varints(2)[0] == epoch, "belongs to another epoch")
            # The first byte of each is the KEM, the other 16 are the fingerprint.
            wraps = {fields.take(17): fields.sized() for _ in fields.count()}
            check(self.who in wraps, "has no wrap for this kit")
            return self.unwrap(wraps[self.who], self.context(epoch, b"wrap", self.who[1:]))

    def unseal(self, epoch: int, kind: bytes, label: bytes, sealed: bytes) -> bytes:
        self.secrets[epoch] = self.secrets.get(epoch) or self.secret(epoch)
        key = hkdf.HKDF(hashes.SHA256(), 32, None, b"syncd v1 key " + kind).derive(self.secrets[epoch])
        return open_sealed(key, self.context(epoch, kind, label), sealed)

    def context(self, epoch: int, kind: bytes, label: bytes) -> bytes:
        parts = self.name.encode(), self.generation.encode(), struct.pack(">I", epoch), kind, label
        return b"syncd v1" + b"".join(struct.pack(">I", len(part)) + part for part in parts)


class Fields:
    """Takes fields off the front of some bytes. What they mean is proven by signature, seal and digest."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> bytes:
        self.at += size
        check(self.at <= len(self.data), "ends early")
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        byte = self.take(1)[0]
        return byte if byte < 128 else byte - 128 + (self.varint() << 7)

    def varints(self, count: int) -> list[int]:
        return [self.varint() for _ in range(count)]

    def count(self) -> range:
        return range(self.varint())

    def sized(self) -> bytes:
        return self.take(self.varint())

    def page_numbers(self, number: int) -> list[int]:
        return [number := number + 1 + self.varint() for _ in self.count()]


def numbers_in(folder: Path) -> list[int]:
    return sorted(int(path.name, 16) for path in folder.glob("*") if re.fullmatch("[0-9a-f]{16}", path.name))


def read_kit(path: Path) -> dict[str, str]:
    text = "\n".join(line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n"))
    block = re.search(f"^{BEGIN}(.*?){END}", text + "\n", re.MULTILINE | re.DOTALL)
    pairs = re.split("^([a-z]+):", block[1] if block else "", flags=re.MULTILINE)[1:]
    kit = {name: "".join(value.split()) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
    check({"version", "database", "verify"} <= kit.keys(), "is no whole recovery kit")
    check(kit["version"] == "1", f"has version {kit['version']}, this program reads version 1")
    return kit


def read_key(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text.removeprefix("syncd-verify-") + "==")
    check(hashlib.sha256(b"syncd-verify-" + data[:-4]).digest()[:4] == data[-4:], "has a damaged verify key")
    return data[:-4]


def open_identity(text: str, passphrase: bytes) -> tuple[bytes, Unwrap]:
    """What names the identity in an epoch (number of its KEM, fingerprint), and what unwraps with it."""
    data = base64.b64decode(text)
    good = hashlib.sha256(data[:-4]).digest()[:4] == data[-4:] and data[:8] == b"syncdI\1\0"
    check(good, "has a damaged identity, or one of another version")
    memory, iterations, lanes = struct.unpack(">IIB", data[8:17])
    check(memory <= 2**20 and iterations <= 64 and lanes <= 64, "asks for too much work")
    key = argon2.Argon2id(salt=data[17:33], length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
    with about("the identity (is the passphrase wrong?)"):
        plain = open_sealed(key.derive(passphrase), data[:33], data[33:-4])
    private: x25519.X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
    private = x = x25519.X25519PrivateKey.from_private_bytes(plain[-32:])
    kem, public = hpke.KEM.X25519, x.public_key().public_bytes_raw()
    if plain[0] == 2:
        ml = mlkem.MLKEM768PrivateKey.from_seed_bytes(plain[1:65])
        kem, private = hpke.KEM.MLKEM768_X25519, hpke.MLKEM768X25519PrivateKey(ml, x)
        public = ml.public_key().public_bytes_raw() + public
    suite = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return fingerprint(plain[:1], public), lambda wrapped, info: suite.decrypt(wrapped, private, info)


def open_rsa(args: argparse.Namespace) -> tuple[bytes, Unwrap]:
    text = args.rsa_key.read_bytes()
    password = ask_passphrase(args) if b"ENCRYPTED" in text else None
    private = serialization.load_pem_private_key(text, password)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError(f"{args.rsa_key} is no RSA key")  # noqa: TRY004 (one line for the user)

    def unwrap(wrapped: bytes, info: bytes) -> bytes:
        plain = private.decrypt(wrapped, OAEP)
        check(plain[32:] == hashlib.sha256(info).digest(), "has a wrap from another place")
        return plain[:32]

    return fingerprint(b"\3", private.public_key().public_bytes(*DER)), unwrap


def fingerprint(kem: bytes, public: bytes) -> bytes:
    return kem + hashlib.sha256(b"syncd recipient v1\0" + kem + public).digest()[:16]


def ask_passphrase(args: argparse.Namespace) -> bytes:
    text = getpass.getpass() if not args.passphrase_file else args.passphrase_file.read_bytes().decode()
    return unicodedata.normalize("NFC", text.split("\n")[0].removesuffix("\r")).encode()


def open_sealed(key: bytes, context: bytes, sealed: bytes) -> bytes:
    opener = Cobblestone256Decryptor(key, context)
    return bytes(opener.update(sealed) + opener.finalize())


def check(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    try:
        yield
    except InvalidTag:
        raise ValueError(f"{what}: does not open; it is damaged, or from another place") from None
    except InvalidSignature:
        raise ValueError(f"{what}: is not signed by the daemon of this kit") from None
    except (OSError, ValueError, IndexError, zstd.ZstdError) as problem:
        raise ValueError(f"{what}: {problem}") from None


if __name__ == "__main__":
    main()
