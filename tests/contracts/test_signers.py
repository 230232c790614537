"""The signers: a key in a file, and one that an SSH agent keeps. What is not signed did not happen."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable
from answerable.errors import KeeperUnusable, KeyFileUnsafe, SignerUnavailable
from answerable.ledger import (
    Ledger,
    Reader,
    Signer,
    export_bundle,
    find_in_ssh_agent,
    rotate_key,
    write_key,
    write_trust,
)
from answerable.ledger._key_files import open_signer
from answerable_verify import verify
from tests.contracts.agents import Agent
from tests.contracts.signer_suite import check_signer


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    found = Agent(tmp_path)
    found.add("gate")
    yield found
    found.kill()


def keep(agent: Agent, path: Path) -> None:
    """Write a key file that points to the agent's key."""
    key = find_in_ssh_agent("gate", str(agent.socket))
    write_key(path, signer="ssh-agent", public=key, options={"socket": str(agent.socket)})


def kept(agent: Agent, path: Path) -> Path:
    """A key file that points to the agent's key."""
    keep(agent, path)
    return path


def test_a_key_in_a_file_passes_the_suite(tmp_path: Path) -> None:
    check_signer(lambda: open_signer(tmp_path / "gate.key"))


@pytest.mark.requirement("EV-1")
def test_a_key_that_an_ssh_agent_keeps_passes_the_suite(agent: Agent, tmp_path: Path) -> None:
    check_signer(lambda: open_signer(kept(agent, tmp_path / "gate.key")))


def test_a_key_is_found_by_comment_fingerprint_or_id_and_only_if_it_is_the_one(agent: Agent, tmp_path: Path) -> None:
    agent.add("log")
    key = find_in_ssh_agent("gate", str(agent.socket))
    id_ = open_signer(kept(agent, tmp_path / "by-comment")).key_id

    assert find_in_ssh_agent(id_, str(agent.socket)) == key
    for named in ("nobody", id_[:10], ""):
        with pytest.raises(KeeperUnusable):
            find_in_ssh_agent(named, str(agent.socket))


def test_the_key_file_of_a_kept_key_holds_nothing_secret_and_the_gate_refuses_a_made_up_one(
    agent: Agent, tmp_path: Path
) -> None:
    path = kept(agent, tmp_path / "gate.key")
    assert "PRIVATE" not in path.read_text()

    for body in ("signer = 1", 'signer = "ssh-agent"', 'signer = "ssh-agent"\npublic = "x"', "\x00", ""):
        path.write_text(body)
        with pytest.raises(KeyFileUnsafe):
            open_signer(path)


@pytest.mark.parametrize(("keeper", "options"), [("no-such-keeper", {}), ("ssh-agent", {"sokcet": "/x"})])
def test_a_keeper_that_is_not_there_or_misspelt_is_refused_by_name(
    agent: Agent, tmp_path: Path, keeper: str, options: dict[str, str]
) -> None:
    path = tmp_path / "gate.key"
    write_key(path, signer=keeper, public=find_in_ssh_agent("gate", str(agent.socket)), options=options)

    with pytest.raises(KeeperUnusable, match=keeper):
        open_signer(path)


def signs(signer: Signer) -> bool:
    try:
        signer.sign(b"a receipt")
    except SignerUnavailable:
        return False
    return True


def test_a_signer_says_when_its_agent_is_gone_or_lacks_the_key_and_goes_on_when_it_is_back(
    agent: Agent, tmp_path: Path
) -> None:
    signer = open_signer(kept(agent, tmp_path / "gate.key"))
    assert signs(signer)

    agent.remove("gate")
    assert not signs(signer)
    agent.kill()
    assert not signs(signer)
    agent.start()
    assert not signs(signer)
    agent.add("gate")
    assert signs(signer)


class Liar:
    """Speaks the agent's protocol and answers each request with the same bytes."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                while connection.recv(1 << 20):
                    connection.sendall(self._answer)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def _framed(*parts: bytes) -> bytes:
    body = b"\x0e" + b"".join(parts)
    return len(body).to_bytes(4) + body


_KIND = b"\x00\x00\x00\x0bssh-ed25519"


@pytest.mark.parametrize(
    "answer",
    [
        _framed((83).to_bytes(4), _KIND, (64).to_bytes(4), bytes(64)),  # of its form, by no key
        _framed((83).to_bytes(4), _KIND, (64).to_bytes(4), bytes(10)),
        _framed((1 << 31).to_bytes(4), b"x"),
        _framed(),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x05",
    ],
)
def test_whatever_an_agent_answers_a_signature_that_does_not_hold_is_never_used(
    agent: Agent, tmp_path: Path, answer: bytes
) -> None:
    path = tmp_path / "gate.key"
    key = find_in_ssh_agent("gate", str(agent.socket))
    liar = Liar(tmp_path / "liar.sock", answer)
    write_key(path, signer="ssh-agent", public=key, options={"socket": str(tmp_path / "liar.sock")})

    assert not signs(open_signer(path))
    liar.close()


def an_app(folder: Path, done: list[str], agent: Agent | None = None) -> Answerable:
    """An agent that posts three letters; at the second one the SSH agent dies, if one is given."""
    (folder / "policy" / "authorize").mkdir(parents=True, exist_ok=True)
    (folder / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=folder / "data", policy=folder / "policy")

    async def post(letter: str) -> str:
        done.append(letter)
        if agent is not None and letter == "b":
            agent.kill()
            # It comes back while the outcome is held; what was not begun meanwhile was not begun.
            asyncio.get_running_loop().call_later(0.3, lambda: agent.start(keeping="gate"))
        return letter

    async def clerk(run: Any, given: None) -> list[str]:
        return [await run.tool("post", letter=letter) for letter in "abc"]

    app.tool(post, effect="irreversible")
    app.agent(clerk)
    return app


@pytest.mark.requirement("EV-1", "RT-3")
def test_a_gate_whose_agent_dies_holds_what_was_done_until_it_is_back_and_repeats_nothing(
    agent: Agent, tmp_path: Path
) -> None:
    done: list[str] = []

    async def main() -> Any:
        async with an_app(tmp_path, done).gate():
            pass  # the record begins with a key in a file
        await rotate_key(
            tmp_path / "data", "gate", by="ada", reason="off the disk", write=lambda path: keep(agent, path)
        )
        async with asyncio.timeout(40), an_app(tmp_path, done, agent).gate() as gate:
            run = await gate.start("clerk", None)
            return run, await gate.result(run)

    run, result = asyncio.run(main())

    assert (result, done) == (["a", "b", "c"], ["a", "b", "c"])
    reader = Reader.open(tmp_path / "data")
    trust = write_trust(reader, tmp_path / "trust.toml")
    assert verify(export_bundle(reader, [run], tmp_path), trust).verdict == "verified"
    assert "ssh-agent" in json.dumps(
        [receipt.predicate["control"] for receipt in reader.all() if receipt.phase == "key"]
    )
    assert not any(b"PRIVATE" in (tmp_path / "data" / "keys" / name).read_bytes() for name in ("gate.key",))


@pytest.mark.requirement("EV-1")
def test_a_gate_does_not_start_while_its_key_cannot_sign(agent: Agent, tmp_path: Path) -> None:
    data = tmp_path / "data"
    asyncio.run(_begun(data))
    asyncio.run(rotate_key(data, "gate", by="ada", reason="", write=lambda path: keep(agent, path)))
    agent.kill()

    with pytest.raises(SignerUnavailable):
        Ledger.open(data)

    agent.start()
    agent.add("gate")
    asyncio.run(_begun(data))


@pytest.mark.requirement("EV-1")
def test_nothing_is_done_while_nothing_can_be_signed(agent: Agent, tmp_path: Path) -> None:
    done: list[str] = []

    async def main() -> None:
        async with an_app(tmp_path, done).gate():
            pass
        await rotate_key(tmp_path / "data", "gate", by="ada", reason="", write=lambda path: keep(agent, path))
        async with asyncio.timeout(30), an_app(tmp_path, done).gate() as gate:
            agent.kill()
            with pytest.raises(SignerUnavailable):
                await gate.start("clerk", None)

    asyncio.run(main())

    assert done == []
    assert not [receipt for receipt in Reader.open(tmp_path / "data").all() if receipt.phase == "run.open"]


async def _begun(data: Path) -> None:
    ledger = Ledger.open(data)
    try:
        await ledger.start()
    finally:
        await ledger.close()
