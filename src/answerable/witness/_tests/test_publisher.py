"""What a gate does when those who watch its log answer, do not, or answer falsely."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from answerable.core import TenantId
from answerable.ledger import Draft, FileSigner, Ledger, LogBehind, Standstill, control_run, log_folder, read_head
from answerable.witness import (
    HttpReply,
    LogConfig,
    LogConfigInvalid,
    Publisher,
    Quorum,
    QuorumMalformed,
    Unreachable,
    Watched,
    Witness,
    WitnessAt,
    cosign,
    make_witness,
    parse_note,
    read_log_config,
    vkey_of,
)
from answerable.witness._tests.people import a_signer

TENANT = TenantId("default")
Post = Callable[[bytes], HttpReply]


class FakeHttp:
    """A network of functions."""

    def __init__(self) -> None:
        self.posts: dict[str, Post] = {}
        self.gets: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def post(self, url: str, body: bytes, *, content_type: str) -> HttpReply:
        self.asked.append(url)
        if url not in self.posts:
            raise Unreachable(url=url, problem="nobody is there")
        return self.posts[url](body)

    async def get(self, url: str) -> HttpReply:
        return HttpReply(status=200, body=self.gets[url]) if url in self.gets else HttpReply(status=404, body=b"")


class World:
    """A record, a witness and a publisher."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.http = FakeHttp()
        make_witness(folder / "ada", "witness.example/ada")
        self.witness = Witness.open(folder / "ada")
        self.at = WitnessAt(key=self.witness.key, url="http://ada")
        quorum = Quorum(witnesses={"ada": self.at}, wanted="ada")
        self.config = LogConfig(quorum=quorum, timestamp_every_s=0.1)
        self.grow(3)

    def grow(self, count: int) -> None:
        async def main() -> None:
            ledger = Ledger.open(self.data)
            await ledger.start()
            for _ in range(count):
                members = {"control": {"name": "x"}}
                draft = Draft(tenant=TENANT, run=control_run(TENANT), phase="signal", agent="a", members=members)
                await ledger.append(draft)
            await ledger.close()

        asyncio.run(main())

    def publish(self, config: LogConfig | None = None, *, rounds: int = 1) -> Watched:
        async def main() -> Watched:
            publisher = Publisher(self.data, config or self.config, self.http)
            try:
                for _ in range(rounds):
                    found = await publisher.publish()
            finally:
                publisher.close()
            return next(each for each in found if each.origin.endswith("/default"))

        return asyncio.run(main())

    def connect(self) -> None:
        """Have the witness answer, for whatever log asks."""

        def answer(body: bytes) -> HttpReply:
            origin = body.partition(b"\n\n")[2].split(b"\n")[0].decode()
            log = a_log_key(self.data, origin)
            self.witness.add_log(log)
            found = self.witness.add_checkpoint(body)
            return HttpReply(status=found.status, body=found.body.encode())

        self.http.posts["http://ada/add-checkpoint"] = answer


def a_log_key(data: Path, origin: str) -> str:
    return str(vkey_of(FileSigner.open(data / "keys" / "log.key"), origin, role="log"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.requirement("EV-2")
def test_a_witness_that_was_away_is_asked_again_and_the_log_is_published_meanwhile(world: World) -> None:
    away = world.publish()
    assert log_folder(world.data, TENANT).checkpoint
    assert (away.is_quorate, set(away.troubles)) == (False, {"ada"})

    world.connect()
    back = world.publish()

    assert (back.is_quorate, back.cosigned, back.troubles) == (True, ("ada",), {})
    assert "witness.example/ada" in log_folder(world.data, TENANT).checkpoint


def test_a_checkpoint_that_was_cosigned_is_not_asked_for_again(world: World) -> None:
    world.connect()
    world.publish(rounds=2)

    assert world.http.asked.count("http://ada/add-checkpoint") == 2  # one for each log


def test_a_witness_is_told_how_the_log_grew_since_it_signed(world: World) -> None:
    world.connect()
    world.publish()
    world.grow(300)

    assert world.publish().cosigned == ("ada",)


@pytest.mark.requirement("EV-2")
def test_a_witness_that_knows_a_longer_log_shows_that_the_record_was_restored(world: World) -> None:
    world.http.posts["http://ada/add-checkpoint"] = lambda body: HttpReply(status=409, body=b"900\n")

    assert "this record is behind it" in world.publish().troubles["ada"]


@pytest.mark.requirement("EV-2")
def test_a_gate_that_learns_that_it_is_behind_writes_nothing_more_and_no_later_one_does(
    world: World, tmp_path: Path
) -> None:
    world.connect()
    shutil.copytree(world.data, tmp_path / "older")
    world.grow(5)
    world.publish()
    world.data = tmp_path / "older"

    async def main() -> None:
        ledger = Ledger.open(world.data)
        await ledger.start()
        publisher = Publisher(world.data, world.config, world.http)
        told = asyncio.Event()

        def halt(reason: Standstill) -> None:
            ledger.halt(reason)
            told.set()

        publishing = asyncio.create_task(publisher.run(on_behind=halt))
        async with asyncio.timeout(20):
            await told.wait()
        publishing.cancel()
        with pytest.raises(LogBehind, match="ada"):
            await ledger.append(Draft(tenant=TENANT, run=control_run(TENANT), phase="signal", agent="a"))
        publisher.close()
        await ledger.close()

    asyncio.run(main())

    with pytest.raises(LogBehind, match="ada"):
        Ledger.open(world.data)


@pytest.mark.requirement("EV-2")
def test_a_witness_that_cosigned_what_another_publisher_showed_it_does_not_stop_the_gate(world: World) -> None:
    world.connect()
    publisher, shown = Publisher(world.data, world.config, world.http), world.http.posts["http://ada/add-checkpoint"]

    def meanwhile(body: bytes) -> HttpReply:
        world.http.posts["http://ada/add-checkpoint"] = shown
        with ThreadPoolExecutor() as elsewhere:
            elsewhere.submit(world.grow, 4).result()
            elsewhere.submit(world.publish).result()
        return shown(body)

    world.http.posts["http://ada/add-checkpoint"] = meanwhile

    async def main() -> None:
        await publisher.publish()
        publisher.close()

    asyncio.run(main())

    assert publisher.behind is None


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (HttpReply(status=422, body=b""), "another history"),
        (HttpReply(status=404, body=b"who?"), "404: who?"),
        (HttpReply(status=409, body=b"x"), "409"),
        (HttpReply(status=200, body=b"junk"), "not a checkpoint"),
        (HttpReply(status=200, body="— witness.example/ada AAAAAAAA\n".encode()), "no cosignature"),
        (HttpReply(status=200, body=b"\xff"), "decode"),
    ],
)
def test_an_answer_that_is_no_cosignature_is_named_and_not_kept(world: World, reply: HttpReply, said: str) -> None:
    world.http.posts["http://ada/add-checkpoint"] = lambda body: reply

    found = world.publish()

    assert said in found.troubles["ada"]
    assert found.cosigned == ()
    assert len(parse_note(log_folder(world.data, TENANT).checkpoint.encode()).lines) == 1


def test_a_witness_that_names_another_size_each_time_is_not_asked_for_ever(world: World) -> None:
    sizes = iter(range(1000))
    world.http.posts["http://ada/add-checkpoint"] = lambda body: HttpReply(status=409, body=b"%d\n" % (next(sizes) % 3))

    assert "another size each time" in world.publish().troubles["ada"]
    assert len(world.http.asked) <= 6


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("kind", ["signed", "false", "of another root", "none"])
def test_a_monitors_signature_is_taken_only_on_what_was_published(world: World, kind: str) -> None:
    signer = a_signer(3)
    key = vkey_of(signer, "monitor.example/cy", role="witness")
    config = LogConfig(monitors=(WitnessAt(key=key, url="http://cy"),))
    world.publish(config)
    folder = log_folder(world.data, TENANT)
    note = parse_note(folder.checkpoint.encode())
    head = read_head(folder.checkpoint)
    text = note.text if kind != "of another root" else note.text.replace(note.text.split("\n")[2], "A" * 43 + "=")
    by = a_signer(4) if kind == "false" else signer
    theirs = type(note)(text=text, lines=(*note.lines, cosign(by, "monitor.example/cy", text, 1_800_000_000)))
    if kind != "none":
        name = hashlib.sha256(head.origin.encode()).hexdigest()
        world.http.gets[f"http://cy/{name}/checkpoint"] = str(theirs).encode()

    found = world.publish(config)

    assert ("monitor.example/cy" in folder.best(1)) == (kind == "signed")
    wanted = {"signed": None, "false": "does not carry", "of another root": "a split view", "none": "404"}[kind]
    assert wanted is None or wanted in found.troubles["monitor.example/cy"]


def test_a_record_that_contradicts_its_log_is_told_once_and_the_gate_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish()
    folder = log_folder(world.data, TENANT)
    note = folder.checkpoint.split("\n")
    folder.put("checkpoint", "\n".join([note[0], "900", *note[2:]]).encode())

    async def main() -> None:
        publisher = Publisher(world.data, LogConfig(publish_every_s=0.05), world.http)
        running = asyncio.create_task(publisher.run())
        async with asyncio.timeout(20):
            while publisher.rounds < 3:  # noqa: ASYNC110 - a publisher has no event for its rounds
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        publisher.close()

    asyncio.run(main())

    assert [record for record in caplog.messages if "contradicts the 900 entries" in record] == caplog.messages
    assert len(caplog.messages) == 1


def test_what_is_no_timestamp_is_not_kept(world: World) -> None:
    world.http.posts["http://tsa"] = lambda body: HttpReply(status=200, body=b"junk")

    found = world.publish(LogConfig(timestamps=("http://tsa",)))

    assert "no timestamp of this checkpoint" in found.troubles["http://tsa"]
    assert log_folder(world.data, TENANT).stamps(found.size) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("witness = 'x'", LogConfigInvalid),
        ("witnesses = 'missing'", QuorumMalformed),
        ("monitors = ['x']", LogConfigInvalid),
        ("monitors = 'x'", LogConfigInvalid),
        ("timestamps = ['ftp://x']", LogConfigInvalid),
        ("publish_every_s = 0", LogConfigInvalid),
        ("publish_every_s = true", LogConfigInvalid),
        ("= 1", LogConfigInvalid),
    ],
)
def test_a_configuration_that_would_ask_fewer_than_it_seems_to_is_refused(
    tmp_path: Path, text: str, error: type[Exception]
) -> None:
    (tmp_path / "log.toml").write_text(text)

    with pytest.raises(error):
        read_log_config(tmp_path)


def test_without_a_configuration_nobody_is_asked(tmp_path: Path) -> None:
    assert not read_log_config(tmp_path).is_watched


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("role", ["gate", "log"])
def test_a_witness_that_signs_with_a_key_of_the_gate_is_refused(world: World, role: str) -> None:
    own = vkey_of(FileSigner.open(world.data / "keys" / f"{role}.key"), "witness.example/own", role="witness")
    quorum = Quorum(witnesses={"own": WitnessAt(key=own, url="http://own")}, wanted="own")

    with pytest.raises(LogConfigInvalid, match="of this gate's own"):
        world.publish(LogConfig(quorum=quorum))
