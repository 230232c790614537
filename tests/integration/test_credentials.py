"""The gate's own credentials: on the request, and nowhere else.

The authorization server is Authlib's, over HTTP; the tool server lets in only what that server issued, and repeats
to its caller whatever it was sent.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable
from answerable.app import open_desk
from answerable.errors import (
    ConfigFileInvalid,
    CredentialInvalid,
    CredentialMissing,
    CredentialOutOfScope,
    TokenNotIssued,
    VaultDamaged,
)
from answerable.identity import SealedVault
from answerable.ledger import Reader, export_bundle
from answerable.models import OpenAIConfig, OpenAIProvider, Upstream
from answerable.server import serve_gate
from answerable_verify._container import read_container
from tests.integration.guarded_shop import Shop, an_app, ask, through
from tests.integration.tokens import Issuer
from tests.integration.upstream import ScriptedUpstream, chat_whole, serving


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer(subjects={"staff-token-of-lee": "lee"})
    yield found
    found.close()


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged here, but for what the authorization server says, which is elsewhere."""
    records = [record for record in caplog.records if record.name.partition(".")[0] not in ("authlib", "werkzeug")]
    return "\n".join(logging.Formatter().format(record) for record in records)


def everything(folder: Path) -> bytes:
    """All that is on the disk of a gate, but for the vault itself."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "credentials.sealed"]
    return b"\n".join(path.read_bytes() for path in found)


def disclosed(folder: Path) -> bytes:
    """All that a bundle of all runs shows, texts in clear."""
    reader = Reader.open(folder / "data")
    runs = list(dict.fromkeys(receipt.predicate["run"] for receipt in reader.receipts()))
    return b"\n".join(read_container(export_bundle(reader, runs, folder / "all.zip")).values())


@pytest.mark.requirement("TL-5")
@pytest.mark.parametrize("streams", [False, True])
def test_a_bought_token_reaches_the_tool_server_and_is_nowhere_else(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture, streams: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    shop = Shop(is_good=lambda token: token in issuer.issued, streams=streams)
    kept = {"kind": "client-credentials", "token_url": issuer.url, "client_id": issuer.client_id, "scope": "orders"}

    provider = ScriptedUpstream([(200, chat_whole("it is fine"))])

    async def story() -> Any:
        async with open_desk(tmp_path / "data") as desk:
            await desk.credential(do="set", named="shop", by="ada", secret=issuer.secret)
        app = an_app(tmp_path, shop, "shop", credentials={"shop": kept})

        @app.agent
        async def teller(run: Any, tool: str) -> Any:
            return await run.model(json.dumps(await run.tool(f"shop.{tool}")), model="far:tiny", max_tokens=20)

        async with serving(provider):
            app.provider(OpenAIProvider(OpenAIConfig(name="far", base_url=provider.url)))
            async with app.gate() as gate:
                return [
                    await ask(gate, "clerk", "look"),
                    await ask(gate, "clerk", "pay"),
                    await ask(gate, "teller", "look"),
                ]

    results = through(shop, story)

    assert shop.called() == ["look", "pay", "look"]
    assert results[2] == "it is fine"
    assert "you sent" in json.dumps(provider.asked), "the model was told what the tool repeats"
    (token,) = issuer.issued
    assert {sent for _, sent in shop.seen} == {token}, "one token, for as long as it lives"
    assert issuer.asked == [{"grant_type": "client_credentials", "scope": "orders"}]
    assert "[credential]" in json.dumps(results)
    for secret in (issuer.secret, token):
        assert secret not in json.dumps(results, default=str)
        assert secret not in json.dumps([provider.asked, provider.headers])
        assert secret not in logged(caplog)
        assert secret.encode() not in everything(tmp_path)
        assert secret.encode() not in disclosed(tmp_path)
        assert secret.encode() not in (tmp_path / "data" / "credentials.sealed").read_bytes()


@pytest.mark.requirement("TL-5")
def test_a_token_that_was_revoked_is_bought_anew_and_the_call_made_once(tmp_path: Path, issuer: Issuer) -> None:
    shop = Shop(is_good=lambda token: token in issuer.issued)
    kept = {"kind": "client-credentials", "token_url": issuer.url, "client_id": issuer.client_id, "variable": "S"}

    async def story() -> Any:
        async with an_app(tmp_path, shop, "shop", credentials={"shop": kept}).gate() as gate:
            await ask(gate, "clerk", "pay")
            issuer.issued.clear()  # as an operator does who suspects something
            return await ask(gate, "clerk", "pay")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S", issuer.secret)
        result = through(shop, story)

    assert "pay done" in json.dumps(result)
    assert [what for what, token in shop.seen if what == "pay" and token in issuer.issued] == ["pay"]
    assert len(issuer.asked) == 2


@pytest.mark.requirement("TL-5")
def test_a_subject_token_is_exchanged_for_one_that_is_good_for_less(tmp_path: Path, issuer: Issuer) -> None:
    shop = Shop(is_good=lambda token: issuer.issued.get(token, {}).get("audience") == "shop")
    exchanged = {
        "kind": "token-exchange",
        "token_url": issuer.url,
        "client_id": issuer.client_id,
        "client_secret": "client",
        "audience": "shop",
        "scope": "orders:read",
    }

    async def story() -> Any:
        async with open_desk(tmp_path / "data") as desk:
            await desk.credential(do="set", named="staff", by="ada", secret="staff-token-of-lee")
            await desk.credential(do="set", named="client", by="ada", secret=issuer.secret)
        async with an_app(tmp_path, shop, "staff", credentials={"client": {}, "staff": exchanged}).gate() as gate:
            return await ask(gate, "clerk", "look")

    result = through(shop, story)

    assert "look done" in json.dumps(result)
    (token,) = issuer.issued.values()
    assert token == {"scope": "orders:read", "subject": "lee", "audience": "shop"}
    assert all(sent in issuer.issued for _, sent in shop.seen), "the subject token itself is never sent"


@pytest.mark.requirement("TL-5")
def test_a_credential_is_used_for_its_tools_and_agents_and_for_nobody_else(tmp_path: Path) -> None:
    shop = Shop(is_good=lambda token: token in ("for-looking", "for-paying"))

    async def story() -> Any:
        async with open_desk(tmp_path / "data") as desk:
            await desk.credential(do="set", named="reads", by="ada", secret="for-looking")
            await desk.credential(do="set", named="pays", by="ada", secret="for-paying")
        declared: dict[str, dict[str, Any]] = {
            "reads": {"tools": ("shop.look",)},
            "pays": {"tools": ("shop.pay",), "agents": ("clerk",)},
        }
        async with an_app(tmp_path, shop, ["reads", "pays"], credentials=declared).gate() as gate:
            found = [await ask(gate, agent, tool) for agent in ("clerk", "porter") for tool in ("look", "pay")]
        return found

    found = through(shop, story)

    assert [sent for what, sent in shop.seen if what == "look"] == ["for-looking"] * 2
    assert [sent for what, sent in shop.seen if what == "pay"] == ["for-paying"]
    assert isinstance(found[3], CredentialOutOfScope)
    assert (found[3].tool, found[3].agent) == ("shop.pay", "porter")


@pytest.mark.requirement("TL-5")
def test_without_its_credential_nothing_is_sent(tmp_path: Path, issuer: Issuer) -> None:
    shop = Shop(is_good=lambda token: True)
    kept = {"kind": "client-credentials", "token_url": issuer.url, "client_id": issuer.client_id}

    async def story() -> list[Any]:
        found = []
        with pytest.raises(CredentialMissing, match="not in the vault"):
            async with an_app(tmp_path, shop, "shop", credentials={"shop": kept}).gate():
                pass
        async with open_desk(tmp_path / "data") as desk:
            await desk.credential(do="set", named="shop", by="ada", secret=issuer.secret)
        async with an_app(tmp_path, shop, "shop", credentials={"shop": kept}).gate() as gate:
            sent = len(shop.called())
            await gate.desk.credential(do="set", named="shop", by="ada", secret="another secret")
            found.append(await ask(gate, "clerk", "pay"))  # the server knows no such client
            await gate.desk.credential(do="remove", named="shop", by="ada")
            found.append(await ask(gate, "clerk", "pay"))
            await gate.desk.credential(do="set", named="shop", by="ada", secret=issuer.secret)
            vault = tmp_path / "data" / "credentials.sealed"
            vault.write_bytes(vault.read_bytes()[:-1] + b"!")
            found.append(await ask(gate, "clerk", "pay"))
            assert len(shop.called()) == sent
        return found

    refused, removed, damaged = through(shop, story)

    assert isinstance(refused, TokenNotIssued)
    assert "invalid_client" in refused.reason
    assert isinstance(removed, CredentialMissing)
    assert isinstance(damaged, VaultDamaged)


@pytest.mark.requirement("TL-5")
def test_an_authorization_server_that_is_down_stops_the_call_and_not_the_gate(tmp_path: Path, issuer: Issuer) -> None:
    shop = Shop(is_good=lambda token: True)
    url = issuer.url
    declared: dict[str, dict[str, Any]] = {
        "lists": {"tools": ()},
        "pays": {"kind": "client-credentials", "token_url": url, "client_id": "gate"},
    }

    async def story() -> Any:
        async with open_desk(tmp_path / "data") as desk:
            await desk.credential(do="set", named="lists", by="ada", secret="x-lists")
            await desk.credential(do="set", named="pays", by="ada", secret=issuer.secret)
        async with an_app(tmp_path, shop, ["lists", "pays"], credentials=declared).gate() as gate:
            issuer.close()
            failed = await ask(gate, "clerk", "pay")
            return failed, await ask(gate, "clerk", "pay")

    for failed in through(shop, story):
        assert isinstance(failed, TokenNotIssued)
    assert shop.called() == []
    issuer.__post_init__()  # for the fixture to close


@pytest.mark.requirement("TL-5", "MD-2")
def test_a_providers_credential_is_put_on_by_the_gate_and_only_for_whom_it_is_for(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    import openai

    caplog.set_level(logging.DEBUG)

    async def story() -> Any:
        async with serving(ScriptedUpstream([(200, chat_whole("fine"))])) as provider:
            (tmp_path / "policy" / "authorize").mkdir(parents=True)
            (tmp_path / "policy" / "authorize" / "all.cedar").write_text(
                '@id("all") permit (principal, action, resource);'
            )
            app = Answerable(data=tmp_path / "data", policy=tmp_path / "policy")
            scope = {"agents": ("desk", "hand", "away"), "groups": ("staff",), "environment": "staging"}
            app.credential("models", kind="client-credentials", token_url=issuer.url, client_id="gate", **scope)
            grants = app.grants("models")
            app.upstream(Upstream(name="first", dialect="chat", base_url=provider.url, grants=grants))
            app.route("tiny", "first:tiny")
            app.wired("desk", groups=["staff"], environment="staging")
            app.wired("other", groups=["staff"], environment="staging")
            app.wired("hand", groups=["temps"], environment="staging")
            app.wired("away", groups=["staff"], environment="development")
            async with open_desk(tmp_path / "data") as desk:
                await desk.credential(do="set", named="models", by="ada", secret=issuer.secret)
            async with app.gate() as gate:
                keys = {name: (await gate.desk.key(do="new", named=name))["key"] for name in app.agents}
                listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
                served = asyncio.create_task(
                    serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result)
                )
                url = await listening
                said = []
                for name in app.agents:
                    client = openai.AsyncOpenAI(base_url=url + "/v1", api_key=keys[name], max_retries=0)
                    async with client:
                        try:
                            answer = await client.chat.completions.create(
                                model="tiny", messages=[{"role": "user", "content": "?"}]
                            )
                            said.append(answer.choices[0].message.content)
                        except openai.APIStatusError as error:
                            said.append(json.dumps(error.body))
                served.cancel()
                await asyncio.wait([served])
            return said, provider.headers

    said, headers = asyncio.run(story())

    (token,) = issuer.issued
    assert [each["authorization"] for each in headers] == [f"Bearer {token}"]
    assert said[0] == "fine"
    assert ["credential_out_of_scope" in each for each in said] == [False, True, True, True]
    for secret in (token, issuer.secret):
        assert secret not in logged(caplog)
        assert secret.encode() not in everything(tmp_path)


def test_what_is_kept_can_be_read_back_and_a_changed_file_or_another_key_opens_nothing(tmp_path: Path) -> None:
    vault = SealedVault(tmp_path)
    vault.put("shop", "s3cret-é")
    vault.put("model", "another")

    assert (vault.find("shop").text, list(vault.all())) == ("s3cret-é", ["model", "shop"])
    assert (tmp_path / "credentials.sealed").stat().st_mode & 0o077 == 0
    vault.remove("model")
    with pytest.raises(CredentialMissing):
        vault.find("model")
    with pytest.raises(CredentialMissing):
        vault.remove("model")
    sealed = (tmp_path / "credentials.sealed").read_bytes()
    for at in range(len(sealed)):
        (tmp_path / "credentials.sealed").write_bytes(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        with pytest.raises(VaultDamaged):
            vault.all()
    (tmp_path / "credentials.sealed").write_bytes(sealed)
    (tmp_path / "keys" / "vault.key").unlink()
    with pytest.raises(VaultDamaged, match="its key is gone"):
        vault.all()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"kind": "header"}, "`header` is missing"),
        ({"kind": "client-credentials", "client_id": "x"}, "`token_url` is missing"),
        ({"kind": "client-credentials", "token_url": "https://a.example/t"}, "`client_id` is missing"),
    ],
)
def test_half_a_credential_is_refused_when_it_is_declared(tmp_path: Path, said: dict[str, Any], problem: str) -> None:
    app = Answerable(data=tmp_path / "data", policy=tmp_path)
    app.credential("shop")

    with pytest.raises(CredentialInvalid, match=problem):
        app.credential("other", **said)
    with pytest.raises(CredentialInvalid, match="there is one of this name"):
        app.credential("shop")
    with pytest.raises(CredentialInvalid, match="not declared"):
        app.mcp("far", url="http://127.0.0.1:1/mcp", credential="nobody")


def test_a_file_that_names_a_credential_there_is_none_of_is_told_so(tmp_path: Path) -> None:
    from answerable.app import read_config

    file = tmp_path / "answerable.toml"
    file.write_text('[credentials.shop]\n[servers.shop]\nurl = "https://a.example/mcp"\ncredential = ["shob"]\n')

    with pytest.raises(ConfigFileInvalid, match=r"line 4: .*did you mean `shop`"):
        read_config(file)
