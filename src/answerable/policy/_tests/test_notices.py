"""People are told by real HTTP and SMTP; whether or not they are, what waits goes on waiting."""

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from answerable.policy import Budget, BudgetAlerts, Mail, NoticeInvalid, Notices, Webhook
from answerable.policy._tests.conftest import AtDesk, Desk, an_action

pytestmark = pytest.mark.requirement("GV-2")

SECRET = base64.b64encode(b"k" * 32).decode()
ASK = (
    '@id("ask") @obligation("approve:role=lead,timeout=1h,on_timeout=escalate:manager") '
    "permit(principal, action, resource);"
)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hook:
    """Takes requests over a socket; answers 503 as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.came = asyncio.Condition()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = "503 Later" if self.failures > len(self.got) else "204 Taken"
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with self.came:
            self.got.append((headers, body))
            self.came.notify_all()

    async def times(self, wanted: int) -> None:
        async with asyncio.timeout(20), self.came:
            await self.came.wait_for(lambda: len(self.got) >= wanted)


class MailServer:
    """Speaks as much SMTP as a client needs."""

    def __init__(self) -> None:
        self.mails: asyncio.Queue[str] = asyncio.Queue()
        self.left = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            if line.upper() == "DATA":
                writer.write(b"354 go on\r\n")
                await self.mails.put((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 ok\r\n")
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.left.set()


async def serving(serve: Serve) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def told(desk: Desk, *channels: Any) -> "asyncio.Task[None]":
    return asyncio.create_task(
        Notices(desk.approvals, channels, link="http://localhost:8700/decide", look_s=0.01).serve()
    )


def test_a_webhook_is_told_once_with_a_signature_that_holds_and_again_when_another_role_is_asked(
    at_desk: AtDesk,
) -> None:
    async def body(desk: Desk) -> None:
        hook = Hook()
        server, port = await serving(hook)
        held = await desk.open(an_action(await desk.run()))
        telling = told(desk, Webhook(url=f"http://127.0.0.1:{port}/", secret="whsec_" + SECRET))
        await hook.times(1)
        desk.clock.move(hours=2)
        await desk.approvals.expire_due()
        await hook.times(2)
        telling.cancel()
        server.close()

        roles = []
        for headers, text in hook.got:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + text
            wanted = base64.b64encode(hmac.digest(b"k" * 32, signed, "sha256")).decode()
            assert headers["webhook-signature"] == f"v1,{wanted}"
            roles.append((headers["webhook-id"], json.loads(text)["data"]["role"]))
        assert roles == [(f"{held.wait}.0", "lead"), (f"{held.wait}.1", "manager")]
        assert b"number" not in hook.got[0][1]

    at_desk(body, obligations=ASK)


def test_what_could_not_be_delivered_is_tried_again_under_the_same_id_and_waits_meanwhile(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        hook = Hook(failures=1)
        server, port = await serving(hook)
        held = await desk.open(an_action(await desk.run()))
        telling = told(desk, Webhook(url=f"http://127.0.0.1:{port}/", secret=SECRET))
        await hook.times(1)
        between = desk.approvals.show(held.wait).approval.state
        await hook.times(2)
        telling.cancel()
        server.close()

        assert between == "waiting"
        assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1

    at_desk(body, obligations=ASK)


def test_nobody_there_to_be_told_changes_nothing(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        hook = Hook()
        server, port = await serving(hook)
        dead, free = await serving(hook)
        dead.close()
        run = await desk.run()
        held = await desk.open(an_action(run))
        telling = told(
            desk,
            Webhook(url=f"http://127.0.0.1:{free}/", secret=SECRET),
            Mail(host="127.0.0.1", port=free, sender="gate@x", to={"lead": ["l@x"]}, tls="none"),
            Webhook(url=f"http://127.0.0.1:{port}/", secret=SECRET),
        )
        await hook.times(1)
        await desk.approvals.decide(held.wait, "approve", by="robin", roles=["lead"])
        telling.cancel()
        server.close()

        assert (await desk.open(an_action(run))).status == "admitted"

    at_desk(body, obligations=ASK)


def test_the_people_of_the_role_get_a_mail_without_the_arguments(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        mails = MailServer()
        server, port = await serving(mails)
        held = await desk.open(an_action(await desk.run()))
        mail = Mail(host="127.0.0.1", port=port, sender="gate@x.test", to={"lead": ["l@x.test"]}, tls="none")
        telling = told(desk, mail)
        async with asyncio.timeout(20):
            text = await mails.mails.get()
            await mails.left.wait()
        telling.cancel()
        server.close()

        assert "To: l@x.test" in text
        assert f"Message-ID: <{held.wait}.0@answerable>" in text
        assert f"http://localhost:8700/decide#{held.wait}" in text.replace("=\r\n", "")
        assert "number" not in text

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("MD-3")
def test_a_budget_that_runs_low_is_told_by_webhook_and_to_the_role_it_names(at_desk: AtDesk) -> None:
    budget = Budget(scope="tenant", calls=2, alerts=(50,), tell="lead")

    async def body(desk: Desk) -> None:
        hook, mails = Hook(), MailServer()
        (server, port), (post, mail_port) = await serving(hook), await serving(mails)
        await desk.do(an_action(await desk.run()))
        mail = Mail(host="127.0.0.1", port=mail_port, sender="g@x.test", to={"lead": ["l@x.test"]}, tls="none")
        alerts = BudgetAlerts(desk.ledger.reader.rows, (budget,), clock=desk.clock)
        channels = (Webhook(url=f"http://127.0.0.1:{port}/", secret=SECRET), mail)
        telling = asyncio.create_task(Notices(desk.approvals, channels, look_s=0.01, alerts=alerts).serve())
        await hook.times(1)
        async with asyncio.timeout(20):
            text = await mails.mails.get()
            await mails.left.wait()
        telling.cancel()
        server.close()
        post.close()

        said = json.loads(hook.got[0][1])
        assert said["type"] == "budget.threshold"
        assert said["data"] == {
            "scope": "tenant",
            "dimension": "calls",
            "percent": "50",
            "limit": "2",
            "spent": "1",
            "reserved": "0",
        }
        assert "Subject: 50 % of the budget of tenant is used" in text

    at_desk(body, budgets=(budget,))


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Webhook(url="http://x", secret="short"),
        lambda: Webhook(url="x", secret=SECRET),
        lambda: Mail(host="x", sender="a@x", to={}, tls="maybe"),
        lambda: Mail(host="x", sender="a@x", to={}, tls="none", user="u", password="p"),
    ],
)
def test_a_channel_that_could_not_work_or_would_give_a_secret_away_is_refused(declare: Callable[[], Any]) -> None:
    with pytest.raises(NoticeInvalid):
        declare()
