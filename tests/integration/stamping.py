"""A time-stamping authority on this machine: `openssl ts` behind HTTP."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

__all__ = ["Authority", "serving_authority"]

_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/leaf.pem
signer_key = {folder}/leaf.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Authority:
    """Keys and certificates of an authority, made with `openssl`."""

    def __init__(self, folder: Path, name: str = "A test authority") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "ts.cnf").write_text(_CONFIG.format(folder=folder, name=name))
        (folder / "serial").write_text("01\n")
        for part in ("root", "leaf"):
            self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{part}.key")
        config = ("-config", "ts.cnf", "-sha256")
        self._openssl(
            "req", "-x509", "-key", "root.key", "-out", "root.pem", "-days", "30", *config, "-extensions", "root"
        )
        self._openssl("req", "-new", "-key", "leaf.key", "-out", "leaf.csr", *config, "-subj", f"/CN={name}, stamps")
        signed_by = ("-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "2", "-days", "30", "-sha256")
        extended = ("-extfile", "ts.cnf", "-extensions", "leaf")
        self._openssl("x509", "-req", "-in", "leaf.csr", *signed_by, *extended, "-out", "leaf.pem")

    @property
    def root(self) -> Path:
        """Its root certificate, PEM."""
        return self.folder / "root.pem"

    def answer(self, request: bytes) -> bytes:
        """The timestamp for a request, DER."""
        (self.folder / "request.tsq").write_bytes(request)
        self._openssl("ts", "-reply", "-config", "ts.cnf", "-queryfile", "request.tsq", "-out", "answer.tsr")
        return (self.folder / "answer.tsr").read_bytes()

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=30)


@contextlib.asynccontextmanager
async def serving_authority(authority: Authority) -> AsyncIterator[str]:
    """The authority's URL while the block runs."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in _lines(head) if line.startswith(b"content-length:"))
            answer = await asyncio.to_thread(authority.answer, await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\nconnection: close\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(answer), answer))
            await writer.drain()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/"


def _lines(head: bytes) -> Iterator[bytes]:
    return (line.lower() for line in head.split(b"\r\n"))
