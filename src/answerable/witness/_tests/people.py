"""Keys from seeds, and a log in memory that is signed like a real one."""

import base64
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from answerable.ledger import FileSigner, Tree, consistency_proof, leaf_hash, root_hash
from answerable.witness import Note, VerifierKey, vkey_of
from answerable.witness._notes import NoteLine


def a_signer(number: int) -> FileSigner:
    """The key of a seed."""
    return FileSigner(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")))


class FakeLog:
    """Entries, and what their owner can say of them: also what no honest owner says."""

    def __init__(self, origin: str = "log.example/a", *, key: int = 7) -> None:
        self.origin = origin
        self.signer = a_signer(key)
        self.key: VerifierKey = vkey_of(self.signer, origin, role="log")
        self.entries: list[bytes] = []

    def grow(self, count: int) -> "FakeLog":
        """Add entries."""
        self.entries += [len(self.entries).to_bytes(4, "big") + bytes([n % 256]) for n in range(count)]
        return self

    def tile(self, level: int, index: int, width: int) -> bytes:
        """As `TileSource`; only for short logs."""
        assert level == 0
        return b"".join(leaf_hash(entry) for entry in self.entries[index * 256 : index * 256 + width])

    def checkpoint(self, size: int | None = None) -> Note:
        """The signed head of a size."""
        end = len(self.entries) if size is None else size
        root = root_hash([leaf_hash(entry) for entry in self.entries[:end]])
        text = f"{self.origin}\n{end}\n{base64.b64encode(root).decode()}\n"
        line = NoteLine(name=self.origin, key_hash=self.key.key_hash, signature=self.signer.sign(text.encode()))
        return Note(text=text, lines=(line,))

    def request(self, old: int, size: int | None = None, *, proof: Sequence[bytes] | None = None) -> bytes:
        """What `add-checkpoint` takes."""
        end = len(self.entries) if size is None else size
        hashes = consistency_proof(Tree(self, end), old) if proof is None else proof
        lines = [f"old {old}", *(base64.b64encode(node).decode() for node in hashes)]
        return ("\n".join(lines) + f"\n\n{self.checkpoint(end)}").encode()
