"""Restores a database from a syncd archive without syncd: keep a copy of this file beside the recovery kit.

It needs Python 3.11, `pip install "cryptography>=50" backports.zstd` (3.14: the former only), and a copy of
the archive: `python recover.py --archive DIR --identity kit.txt --to FILE`. Written from FORMAT.md alone.
"""

import argparse
import base64
import contextlib
import getpass
import hashlib
import os
import re
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
BASE32, HEX = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", "[0-9a-f]" * 16
BEGIN, END = "-----BEGIN SYNCD RECOVERY KIT-----\n", "\n-----END SYNCD RECOVERY KIT-----\n"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
Unwrap = Callable[[bytes, bytes], bytes]
DER = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


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
    args = parser.parse_args()
    try:
        for taken in (f"{args.to}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")):
            check(not os.path.lexists(taken), f"{taken} exists; nothing was written")
        archive = Archive(args, Kit(args))
        partial = args.to.with_name(f".{args.to.name}.{os.getpid()}.recover")
        try:
            with partial.open("x+b") as file:
                seq = archive.restore(args.seq, pages := Pages(file))
                file.flush()
                os.fsync(file.fileno())
            partial.rename(args.to)
            os.fsync(os.open(args.to.parent, os.O_RDONLY))
        finally:
            partial.unlink(missing_ok=True)
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 (the user gets one line)
        sys.exit("recover: " + " ".join(str(problem).split() or [type(problem).__name__]))
    sys.stdout.write(f"{args.to}: {archive.name} {archive.generation}, seq {seq}, {pages.count} pages\n")


def check(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)


@contextlib.contextmanager
def about(what: object) -> Iterator[None]:
    try:
        yield
    except (InvalidSignature, InvalidTag) as problem:
        raise ValueError(f"{what}: {type(problem).__name__}: damaged, or of another kit or place") from None
    except (OSError, ValueError, IndexError, zstd.ZstdError) as problem:
        raise ValueError(f"{what}: {problem}") from None


def open_sealed(key: bytes, context: bytes, sealed: bytes) -> bytes:
    opener = Cobblestone256Decryptor(key, context)
    return bytes(opener.update(sealed) + opener.finalize())


class Kit:  # `database`, key to `verify` with, `who` in an epoch (its KEM and fingerprint), and `unwrap`
    def __init__(self, args: argparse.Namespace) -> None:
        self.words, self.rsa_key = args.passphrase_file, args.rsa_key
        with about(args.identity):
            text = "\n".join(line.strip() for line in args.identity.read_text("utf-8-sig").split("\n"))
            block = re.search(f"^{BEGIN}(.*?){END}", text + "\n", re.MULTILINE | re.DOTALL)
            pairs = re.split("^([a-z]+):", block[1] if block else "", flags=re.MULTILINE)[1:]
            kit = {name: "".join(value.split()) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
            check({"version", "database", "verify"} <= kit.keys(), "is no whole recovery kit")
            check(kit["version"] == "1", f"has version {kit['version']}, this program reads version 1")
            key = base64.urlsafe_b64decode(kit["verify"].removeprefix("syncd-verify-") + "==")
            good = hashlib.sha256(b"syncd-verify-" + key[:-4]).digest()[:4] == key[-4:]
            check(good, "has a damaged verify key")
            self.database, self.verify = kit["database"], ed25519.Ed25519PublicKey.from_public_bytes(key[:-4])
            kem, public, self.unwrap = self.pem() if args.rsa_key else self.identity(kit["identity"])
            self.who = kem + hashlib.sha256(b"syncd recipient v1\0" + kem + public).digest()[:16]

    def passphrase(self) -> bytes:
        text = getpass.getpass() if not self.words else self.words.read_text("utf-8")
        return unicodedata.normalize("NFC", text.split("\n")[0]).encode()

    def identity(self, text: str) -> tuple[bytes, bytes, Unwrap]:
        data = base64.b64decode(text)
        good = hashlib.sha256(data[:-4]).digest()[:4] == data[-4:] and data[:8] == b"syncdI\1\0"
        check(good, "has a damaged identity, or one of another version")
        kib, times, lanes = int.from_bytes(data[8:12]), int.from_bytes(data[12:16]), data[16]
        argon = argon2.Argon2id(salt=data[17:33], length=32, iterations=times, lanes=lanes, memory_cost=kib)
        with about("the identity (is the passphrase wrong?)"):
            plain = open_sealed(argon.derive(self.passphrase()), data[:33], data[33:-4])
        private: x25519.X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
        private = x = x25519.X25519PrivateKey.from_private_bytes(plain[-32:])
        kem, public = hpke.KEM.X25519, x.public_key().public_bytes_raw()
        if plain[0] == 2:
            ml = mlkem.MLKEM768PrivateKey.from_seed_bytes(plain[1:65])
            kem, private = hpke.KEM.MLKEM768_X25519, hpke.MLKEM768X25519PrivateKey(ml, x)
            public = ml.public_key().public_bytes_raw() + public
        suite = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        return plain[:1], public, lambda wrapped, info: suite.decrypt(wrapped, private, info)

    def pem(self) -> tuple[bytes, bytes, Unwrap]:
        pem = self.rsa_key.read_bytes()
        key = serialization.load_pem_private_key(pem, self.passphrase() if b"ENCRYPTED" in pem else None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{self.rsa_key} is no RSA key")  # noqa: TRY004 (one line for the user)
        # The hash of the info follows on the secret; the signature of the epoch covers both.
        return b"\3", key.public_key().public_bytes(*DER), lambda wrapped, _: key.decrypt(wrapped, OAEP)[:32]


class Archive:
    def __init__(self, args: argparse.Namespace, kit: Kit) -> None:
        self.kit, self.name, self.secrets = kit, args.name or kit.database, dict[int, bytes]()
        below = args.archive / self.name / "generations"
        below = below if below.is_dir() else args.archive / "generations"
        found = [path for path in below.iterdir() if re.fullmatch(f"[0-7][{BASE32}]{{25}}", path.name)]
        found = [path for path in found if args.generation in {None, path.name}]
        self.folder = max((path for path in found if any(path.glob(f"snapshots/{HEX}"))), default=below)
        self.generation = self.folder.name
        check(self.folder != below, f"{below} has no generation {args.generation or ''} with a snapshot")
        ulid = sum(BASE32.index(letter) << 5 * (25 - at) for at, letter in enumerate(self.generation))
        self.place = self.name.encode(), ulid.to_bytes(16)

    def numbers(self, kind: str) -> list[int]:
        return sorted(int(path.name, 16) for path in self.folder.glob(f"{kind}/{HEX}"))

    def restore(self, wanted: int | None, pages: "Pages") -> int:
        seqs = [seq for seq in self.numbers("snapshots") if wanted is None or seq <= wanted]
        check(bool(seqs), f"generation {self.generation} has no snapshot to start from")
        last = seq = seqs[-1]
        with about(f"snapshots/{seq:016x}"):
            self.write_snapshot(seq, pages)
        try:
            for epoch, sealed in self.deltas(seq + 1, wanted):
                with about(f"delta {seq + 1}"):
                    label = (seq + 1).to_bytes(8) + pages.digest()
                    committed = pages.apply(Fields(self.unseal(epoch, b"delta", label, sealed)))
                seq, last = seq + 1, seq + 1 if committed else last
        except ValueError as problem:
            raise ValueError(f"{problem} (the last state before that: --seq {last})") from None
        check(wanted in {None, last}, f"there is no whole state {wanted}; the last one: --seq {last}")
        return seq if last == seq else self.restore(last, pages)

    def write_snapshot(self, seq: int, pages: "Pages") -> None:
        fields = self.signed(f"snapshots/{seq:016x}", b"M", b"manifest")
        check(fields.varint() == seq, "belongs to another seq")
        epoch, _, _, size, count = *fields.varints(3), 1 << fields.take(1)[0], fields.varint()
        take, varint, page = fields.take, fields.varint, 1
        packs = [(take(16), varint(), take(32), varint(), varint()) for _ in range(varint())]
        runs = [list[tuple[int, int, int]]() for _ in packs]
        for _ in range(fields.varint()):
            length, pack, offset = fields.varints(3)
            runs[pack].append((offset, page, length))
            page += length
        label = seq.to_bytes(8) + hashlib.sha256(fields.data[: fields.at]).digest()
        digest = self.unseal(epoch, b"digest", label, fields.sized())
        pages.size, pages.count, pages.total = size, 0, pages.file.truncate(0)
        for (pack_id, _, sha256, _, _), mine in zip(packs, runs, strict=True):
            with about(path := f"packs/{pack_id.hex()}"):
                data = (self.folder / path).read_bytes()
                check(hashlib.sha256(data).digest() == sha256, "is not the one that the manifest names")
                sealed = Fields(data, 8)
                inner = Fields(self.unseal(sealed.varint(), b"pack", pack_id, data[sealed.at :]), 1)
                inner.page_numbers(0)
                images = zstd.decompress(inner.data[inner.at :])
                for offset, page, length in mine:
                    pages.put([*range(page, page + length)], images[offset * size : (offset + length) * size])
        pages.count = count
        check(pages.digest() == digest, "has another digest than its pages")

    def deltas(self, seq: int, wanted: int | None) -> Iterator[tuple[int, bytes]]:
        firsts = self.numbers("deltas")
        start = max((first for first in firsts if first <= seq), default=seq)
        for first in (first for first in firsts if first >= start and (wanted is None or first <= wanted)):
            with about(path := f"deltas/{first:016x}"):
                check(first in {start, seq}, f"does not follow on delta {seq - 1}")
                fields = self.signed(path, b"D", b"bundle")
                check(fields.varints(2)[0] == first, "belongs to another seq")
                bundle = [(fields.varint(), fields.sized()) for _ in range(fields.varint())]
            yield from bundle[seq - first : None if wanted is None else wanted + 1 - first]
            seq = first + len(bundle)

    def signed(self, path: str, kind: bytes, word: bytes) -> "Fields":  # those after database and generation
        data: bytes = (self.folder / path).read_bytes()
        check(data[:6] + data[7:8] == b"syncd" + kind + b"\0", "is another kind of file")
        check(data[6] == 1, f"has format version {data[6]}, this program reads version 1")
        self.kit.verify.verify(data[-64:], b"syncd v1 " + word + b"\0" + data[:-64])
        fields = Fields(data[:-64], 8)
        check((fields.sized(), fields.take(16)) == self.place, "belongs to another database or generation")
        return fields

    def secret(self, epoch: int) -> bytes:
        with about(path := f"epochs/{epoch:08x}"):
            fields = self.signed(path, b"E", b"epoch")
            check(fields.varints(2)[0] == epoch, "belongs to another epoch")
            wraps = {fields.take(17): fields.sized() for _ in range(fields.varint())}
            check(self.kit.who in wraps, "has no wrap for this kit")
            return self.kit.unwrap(wraps[self.kit.who], self.context(epoch, b"wrap", self.kit.who[1:]))

    def unseal(self, epoch: int, kind: bytes, label: bytes, sealed: bytes) -> bytes:
        self.secrets[epoch] = self.secrets.get(epoch) or self.secret(epoch)
        key = hkdf.HKDF(hashes.SHA256(), 32, None, b"syncd v1 key " + kind).derive(self.secrets[epoch])
        return open_sealed(key, self.context(epoch, kind, label), sealed)

    def context(self, epoch: int, kind: bytes, label: bytes) -> bytes:
        parts = self.name.encode(), self.generation.encode(), epoch.to_bytes(4), kind, label
        return b"syncd v1" + b"".join(len(part).to_bytes(4) + part for part in parts)


class Fields:  # takes fields off the front of some bytes; signature, seal and digest prove what they mean
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

    def sized(self) -> bytes:
        return self.take(self.varint())

    def page_numbers(self, number: int) -> list[int]:
        return [number := number + 1 + self.varint() for _ in range(self.varint())]


class Pages:  # the file that is made: pages of one size, their count, and the sum of their hashes
    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.count, self.total = file, 0, 0, 0

    def apply(self, fields: Fields) -> bool:  # from one state to the next; whether that is a committed one
        flags, count, digest = fields.take(1)[0], fields.varint(), fields.take(32)
        fields.varints(3)  # first and last change, commits
        if flags & 16 or not self.count:
            self.size, self.count, self.total = 512 << (flags & 7), 0, self.file.truncate(0)
        numbers = [0]
        for _ in range(fields.varint()):
            numbers = fields.page_numbers(numbers[-1])
            old = b"".join(self.get(number) for number in numbers)
            prefix = zstd.ZstdDict(old, is_raw=True).as_prefix if old else None
            self.put(numbers, zstd.decompress(fields.sized(), prefix))
        self.total -= sum(self.hash(number, self.get(number)) for number in range(count + 1, self.count + 1))
        self.count = self.file.truncate(count * self.size) // self.size
        check(self.digest() == digest, "leads to another state than it says")
        return bool(flags & 8)

    def get(self, number: int) -> bytes:
        self.file.seek((number - 1) * self.size)
        return self.file.read(self.size) if number <= self.count else b""

    def put(self, numbers: list[int], images: bytes) -> None:
        for at, number in enumerate(numbers):
            image = images[at * self.size : (at + 1) * self.size]
            self.total += self.hash(number, image) - self.hash(number, self.get(number))
            self.file.seek((number - 1) * self.size)
            self.file.write(image)

    def hash(self, number: int, image: bytes) -> int:
        return int.from_bytes(hashlib.sha256(number.to_bytes(4) + image).digest()) if image else 0

    def digest(self) -> bytes:
        return (self.total % 2**256).to_bytes(32)


if __name__ == "__main__":
    main()
