"""Objects of an archive, always the same bytes: fixed keys, and salts that follow from what is sealed.

- Written from FORMAT.md with the encoders of `syncd.format`; sealing is the second implementation in
  `tests.envelope.cobblestone`, wrapping is HPKE (RFC 9180) with a fixed ephemeral key.
- zstd frames hold raw blocks: no version of zstd can make others of them.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity, SigningKey
from syncd.format.bundle import Bundle, encode_bundle_body
from syncd.format.delta import Delta, PatchGroup, SealedDelta, encode_delta
from syncd.format.epoch import EpochObject, Wrap, encode_epoch_body
from syncd.format.manifest import Manifest, PackRef, encode_manifest, encode_manifest_body, signed_part
from syncd.format.names import deltas_name, epoch_name, pack_name, snapshot_name
from syncd.format.pack import encode_pack
from syncd.format.runs import Run, Runs
from syncd.format.wire import varint
from syncd.model import Digest
from tests.envelope import cobblestone
from tests.format.support import GENERATION

SIZE = 512
START_MS = 1_790_000_000_000
IDENTITY = Identity(Kem.X25519, hashlib.sha256(b"identity").digest())
STRANGER = Identity(Kem.X25519, hashlib.sha256(b"stranger").digest())
SIGNING = SigningKey(hashlib.sha256(b"signing").digest())
FORGER = SigningKey(hashlib.sha256(b"forger").digest())

Pages = Mapping[int, bytes]


def frame(content: bytes) -> bytes:
    """A zstd frame of raw blocks, with a window of 128 KiB."""
    blocks = [content[at : at + 65536] for at in range(0, len(content), 65536)]
    out = b"\x28\xb5\x2f\xfd\x00\x38"
    for index, block in enumerate(blocks):
        out += (len(block) << 3 | (index == len(blocks) - 1)).to_bytes(3, "little") + block
    return out


def wrap(public: bytes, secret: bytes, info: bytes) -> bytes:
    """HPKE, base mode, single shot: DHKEM(X25519), HKDF-SHA256, AES-256-GCM."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"

    def extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + key, "sha256")

    def expand(suite: bytes, key: bytes, label: bytes, context: bytes, size: int) -> bytes:
        return cobblestone.expand(
            "sha256", key, size.to_bytes(2) + b"HPKE-v1" + suite + label + context, size
        )

    ephemeral = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"ephemeral" + info).digest())
    encapsulated = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    prk = extract(kem, b"", b"eae_prk", shared)
    shared = expand(kem, prk, b"shared_secret", encapsulated + public, 32)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    prk = extract(suite, shared, b"secret", b"")
    key, nonce = expand(suite, prk, b"key", context, 32), expand(suite, prk, b"base_nonce", context, 12)
    return encapsulated + AESGCM(key).encrypt(nonce, secret, b"")


@dataclass
class Maker:
    """Objects of one generation of one database, collected in `objects` by name."""

    database: str = "chat"
    generation: str = GENERATION
    signing: SigningKey = SIGNING
    identity: Identity = IDENTITY
    page_size: int = SIZE
    objects: dict[str, bytes] = field(default_factory=dict)
    packs: list[tuple[PackRef, tuple[int, ...]]] = field(default_factory=list)

    def seal(self, epoch: int, kind: bytes, label: bytes, plaintext: bytes) -> bytes:
        key, context = cobblestone.key_and_context(
            self.secret(epoch), self.database, self.generation, epoch, kind, label
        )
        salt = hashlib.sha256(context + plaintext).digest()[:24]
        return cobblestone.seal(key, context, plaintext, salt)

    def secret(self, epoch: int) -> bytes:
        return hashlib.sha256(f"{self.database} {self.generation} {epoch}".encode()).digest()

    def epoch(self, number: int) -> bytes:
        recipient = self.identity.recipient
        _, info = cobblestone.key_and_context(
            b"", self.database, self.generation, number, b"wrap", recipient.fingerprint
        )
        wraps = (
            Wrap(9, b"of a later syncd", b"unknown"),
            Wrap(
                recipient.kem.value,
                recipient.fingerprint,
                wrap(recipient.public, self.secret(number), info),
            ),
        )
        body = encode_epoch_body(EpochObject(self.database, self.generation, number, START_MS, wraps))
        raw = body + self.signing.sign(body, domain=b"syncd v1 epoch\0")
        return self.add(epoch_name(self.generation, number), raw)

    def pack(self, epoch: int, pages: Pages) -> bytes:
        pack_id = hashlib.sha256(b"pack %d" % len(self.packs)).digest()[:16]
        numbers = tuple(pages)
        gaps = b"".join(
            varint(number - before - 1) for before, number in zip((0, *numbers), numbers, strict=False)
        )
        plain = (
            bytes((self.page_size.bit_length() - 1,))
            + varint(len(numbers))
            + gaps
            + frame(b"".join(pages.values()))
        )
        raw = encode_pack(epoch, self.seal(epoch, b"pack", pack_id, plain))
        ref = PackRef(pack_id, len(raw), hashlib.sha256(raw).digest(), len(numbers), epoch)
        self.packs.append((ref, numbers))
        return self.add(pack_name(self.generation, pack_id), raw)

    def snapshot(
        self,
        seq: int,
        epoch: int,
        pages: Pages,
        *,
        runs: Sequence[Run] | None = None,
        digest: Digest | None = None,
    ) -> bytes:
        """Every page from the newest pack that has it."""
        places: dict[int, tuple[int, int]] = {}
        for index, (_, numbers) in enumerate(self.packs):
            places |= {number: (index, offset) for offset, number in enumerate(numbers)}
        used = sorted({places[number][0] for number in pages})
        if runs is None:
            runs = [Run(n, 1, used.index(places[n][0]), places[n][1]) for n in sorted(pages)]
        manifest = Manifest(
            database=self.database,
            generation=self.generation,
            seq=seq,
            epoch=epoch,
            captured_ms=START_MS + 5000 * seq,
            created_ms=START_MS + 5000 * seq + 1000,
            page_size=self.page_size,
            page_count=len(pages),
            packs=tuple(self.packs[index][0] for index in used),
            runs=Runs.of(*runs),
        )
        body = encode_manifest_body(manifest)
        label = seq.to_bytes(8) + hashlib.sha256(body).digest()
        sealed = self.seal(epoch, b"digest", label, bytes(digest or digest_of(pages)))
        signature = self.signing.sign(signed_part(body, sealed), domain=b"syncd v1 manifest\0")
        return self.add(snapshot_name(self.generation, seq), encode_manifest(body, sealed, signature))

    def delta(
        self,
        seq: int,
        epoch: int,
        old: Pages,
        new: Pages,
        *,
        boundary: bool = True,
        rebase: bool = False,
        digest: Digest | None = None,
        before: Digest | None = None,
    ) -> SealedDelta:
        changed = tuple(n for n in sorted(new) if rebase or old.get(n) != new[n])
        groups = (PatchGroup(changed, frame(b"".join(new[n] for n in changed))),) if changed else ()
        delta = Delta(
            page_size=len(new[1]) if new else self.page_size,
            page_count=len(new),
            digest=digest or digest_of(new),
            first_ms=START_MS + 5000 * seq,
            last_ms=START_MS + 5000 * seq + 900,
            commits=1,
            boundary=boundary,
            rebase=rebase,
            groups=groups,
        )
        label = seq.to_bytes(8) + bytes(before or digest_of(old))
        return SealedDelta(seq, epoch, self.seal(epoch, b"delta", label, encode_delta(delta)))

    def bundle(self, *deltas: SealedDelta) -> bytes:
        captured_ms = START_MS + 5000 * deltas[-1].seq + 900
        body = encode_bundle_body(Bundle(self.database, self.generation, captured_ms, deltas))
        raw = body + self.signing.sign(body, domain=b"syncd v1 bundle\0")
        return self.add(deltas_name(self.generation, deltas[0].seq), raw)

    def add(self, name: str, raw: bytes) -> bytes:
        self.objects[name] = raw
        return raw

    def as_forger(self) -> "Maker":
        """With the public keys only: the recipient's, and a signing key of its own."""
        return replace(self, signing=FORGER, objects={}, packs=[])


def digest_of(pages: Pages) -> Digest:
    return Digest().replace(added=pages.items())


def image(pages: Pages) -> bytes:
    return b"".join(pages[number] for number in sorted(pages))
