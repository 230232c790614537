"""Credentials of one environment are not sent in another, and roles of agents bound whom they are for."""

import logging
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from answerable import Gate
from answerable.app import configured, open_desk, reaching_tools, read_config
from answerable.core import TenantId
from answerable.errors import CredentialInvalid, CredentialOutOfScope, EnvironmentCrossed
from answerable.identity import SealedVault
from answerable.ledger import Reader, control_run
from tests.integration.guarded_shop import Shop, an_app, ask, through
from tests.integration.tokens import Issuer

pytestmark = pytest.mark.requirement("GV-8", "TL-5")

SHOP: dict[str, dict[str, Any]] = {"shop": {}}
STAGING, PRODUCTION = "sk-of-staging", "sk-of-production"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer(subjects={"staff-token-of-lee": "lee"})
    yield found
    found.close()


def a_shop() -> Shop:
    return Shop(is_good=lambda token: True)


def kept(folder: Path, **secrets: tuple[str, str]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Secrets entered before a gate runs, each for an environment."""

    async def enter() -> None:
        async with open_desk(folder / "data") as desk:
            for name, (secret, environment) in secrets.items():
                await desk.credential(do="set", named=name, by="ada", secret=secret, environment=environment)

    return enter


def controls(folder: Path) -> list[dict[str, Any]]:
    """What the log says of environments and credentials."""
    reader = Reader.open(folder / "data")
    said = [each.predicate["control"] for each in reader.receipts(run=control_run(TenantId("default")))]
    reader.close()
    return [each for each in said if each["do"] in ("environment", "credential")]


def refusals(folder: Path) -> list[tuple[str, str, str]]:
    return [(each["thing"], each["bound"], each["environment"]) for each in controls(folder) if "refused" in each]


def errors(gate: Gate) -> list[str]:
    """The codes with which actions failed, as their receipts say."""
    found = [
        receipt.predicate.get("effect", {}).get("error")
        for receipt in gate.reader.receipts()
        if receipt.predicate["phase"] == "outcome"
    ]
    return [each for each in found if each]


def with_vault_of(one: Path, other: Path) -> None:
    """One data directory has the other's vault: a copy that went to the wrong machine."""
    (one / "data" / "keys").mkdir(parents=True, exist_ok=True)
    for name in ("credentials.sealed", "keys/vault.key"):
        shutil.copy(other / "data" / name, one / "data" / name)


def test_a_vault_of_another_environment_keeps_the_gate_from_starting_and_nothing_is_sent(tmp_path: Path) -> None:
    shop, here, there = a_shop(), tmp_path / "staging", tmp_path / "production"

    async def story() -> None:
        await kept(there, shop=(PRODUCTION, "production"))()
        with_vault_of(here, there)
        with pytest.raises(EnvironmentCrossed, match="credential `shop` belongs to `production`"):
            async with an_app(here, shop, "shop", environment="staging", credentials=SHOP).gate():
                pass

    through(shop, story)

    assert shop.seen == []
    assert refusals(here) == [("the credential `shop`", "production", "staging")]


def test_a_secret_of_another_environment_that_turns_up_later_fails_the_call_with_a_receipt(tmp_path: Path) -> None:
    shop, here, there = a_shop(), tmp_path / "staging", tmp_path / "production"

    async def story() -> list[Any]:
        await kept(here, shop=(STAGING, "staging"))()
        await kept(there, shop=(PRODUCTION, "production"))()
        async with an_app(here, shop, "shop", environment="staging", credentials=SHOP).gate() as gate:
            found = [await ask(gate, "clerk", "pay")]
            with_vault_of(here, there)
            found.append(await ask(gate, "clerk", "pay"))
            await gate.desk.credential(do="remove", named="shop", by="ada")
            SealedVault(here / "data").put("shop", "sk-that-says-nothing")
            found.append(await ask(gate, "clerk", "look"))
            return [*found, errors(gate)]

    _, crossed, silent, codes = through(shop, story)

    assert {token for _, token in shop.seen} == {STAGING}
    assert shop.called() == ["pay"]
    assert isinstance(crossed, EnvironmentCrossed)
    assert (crossed.bound, crossed.environment) == ("production", "staging")
    assert isinstance(silent, EnvironmentCrossed)
    assert codes == ["config.environment_crossed"] * 2


def test_in_a_gate_of_no_environment_a_secret_serves_the_agents_of_its_own(tmp_path: Path) -> None:
    shop = a_shop()
    agents = {"tester": {"environment": "staging"}, "clerk": {"environment": "development"}}

    async def story() -> list[Any]:
        await kept(tmp_path, lists=("sk-lists", ""), pays=(STAGING, "staging"))()
        app = an_app(tmp_path, shop, ["lists", "pays"], agents=agents, credentials={"lists": {"tools": ()}, "pays": {}})
        async with app.gate() as gate:
            return [await ask(gate, name, "pay") for name in agents] + [errors(gate)]

    _, crossed, codes = through(shop, story)

    assert [token for what, token in shop.seen if what == "pay"] == [STAGING]
    assert isinstance(crossed, EnvironmentCrossed)
    assert (crossed.bound, crossed.environment, codes) == ("staging", "development", ["config.environment_crossed"])


def test_tools_are_listed_without_a_gate_as_a_gate_would_list_them(tmp_path: Path) -> None:
    shop = a_shop()

    async def story() -> tuple[str, ...]:
        await kept(tmp_path, shop=(STAGING, "staging"))()
        app = an_app(tmp_path, shop, "shop", environment="staging", credentials=SHOP)
        async with reaching_tools(app):
            listed = app.tools.names()
        with pytest.raises(EnvironmentCrossed):
            async with reaching_tools(
                an_app(tmp_path, shop, "shop", environment="production", agents={}, credentials=SHOP)
            ):
                pass
        return listed

    assert through(shop, story) == ("shop.look", "shop.pay")
    assert {token for _, token in shop.seen} == {STAGING}
    assert refusals(tmp_path) == [("the credential `shop`", "staging", "production")]


def test_a_gate_of_no_environment_does_not_list_tools_with_a_secret_of_one(tmp_path: Path) -> None:
    shop = a_shop()

    async def story() -> None:
        await kept(tmp_path, shop=(PRODUCTION, "production"))()
        with pytest.raises(EnvironmentCrossed, match="belongs to `production`, and was to be used in `none`"):
            async with an_app(tmp_path, shop, "shop", credentials=SHOP).gate():
                pass

    through(shop, story)

    assert shop.seen == []
    assert refusals(tmp_path) == [("the credential `shop`", "production", "none")]


def test_secrets_that_belonged_nowhere_belong_where_the_gate_does_from_its_start_on(tmp_path: Path) -> None:
    shop, here, there = a_shop(), tmp_path / "staging", tmp_path / "production"

    async def story() -> None:
        await kept(here, shop=(STAGING, ""))()
        async with an_app(here, shop, "shop", environment="staging", credentials=SHOP).gate() as gate:
            await ask(gate, "clerk", "pay")
            await gate.desk.credential(do="set", named="later", by="ada", secret="sk-later")
        with_vault_of(there, here)
        with pytest.raises(EnvironmentCrossed):
            async with an_app(there, shop, "shop", environment="production", agents={}, credentials=SHOP).gate():
                pass

    through(shop, story)

    said = [(each["credential"], each["state"], each.get("environment", "")) for each in controls(here)[2:]]
    assert controls(here)[1] == {"do": "environment", "environment": "staging"}
    assert said == [("shop", "bound", "staging"), ("later", "kept", "staging")]
    assert shop.called() == ["pay"]


def test_secrets_that_belong_nowhere_are_not_used_by_a_gate_whose_log_belongs_elsewhere(tmp_path: Path) -> None:
    shop = a_shop()

    async def story() -> None:
        async with an_app(tmp_path, shop, [], environment="production", agents={}).gate():
            listed = len(shop.seen)
        SealedVault(tmp_path / "data").put("shop", PRODUCTION)  # as versions before environments did
        with pytest.raises(EnvironmentCrossed, match="the log belongs to `production`"):
            async with an_app(tmp_path, shop, "shop", environment="staging", credentials=SHOP).gate():
                pass
        assert len(shop.seen) == listed

    through(shop, story)

    assert refusals(tmp_path) == [("the log", "production", "staging")]
    assert SealedVault(tmp_path / "data").find("shop").environment == ""


def test_a_secret_is_not_entered_for_another_environment_than_the_logs_own(tmp_path: Path) -> None:
    shop = a_shop()

    async def story() -> None:
        async with an_app(tmp_path, shop, []).gate() as gate:
            await gate.desk.credential(do="set", named="old", by="ada", secret="sk-old", environment="staging")
            await gate.desk.credential(do="set", named="old", by="ada", secret="sk-new")  # rotated, where it belongs
        app = an_app(tmp_path, shop, [], environment="staging")
        async with app.gate() as gate:
            with pytest.raises(EnvironmentCrossed, match="credential `shop` belongs to `production`"):
                await gate.desk.credential(
                    do="set", named="shop", by="ada", secret=PRODUCTION, environment="production"
                )

    through(shop, story)

    vault = SealedVault(tmp_path / "data").all()
    assert [(name, each.text, each.environment) for name, each in vault.items()] == [("old", "sk-new", "staging")]
    assert refusals(tmp_path) == [("the credential `shop`", "production", "staging")]


def test_a_second_gate_of_another_environment_is_refused_while_the_first_one_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = a_shop()

    async def story() -> None:
        await kept(tmp_path, shop=(STAGING, "staging"))()
        async with an_app(tmp_path, shop, "shop", environment="staging", credentials=SHOP).gate():
            listed = len(shop.seen)
            with pytest.raises(EnvironmentCrossed):
                async with an_app(tmp_path, shop, "shop", environment="production", agents={}, credentials=SHOP).gate():
                    pass
            assert len(shop.seen) == listed

    with caplog.at_level(logging.WARNING):
        through(shop, story)

    assert "a refusal is not on the record" in caplog.text


def test_a_clients_secret_of_another_environment_buys_nothing(tmp_path: Path, issuer: Issuer) -> None:
    shop = a_shop()
    agents = {"tester": {"environment": "staging"}}
    exchanged = {"kind": "token-exchange", "token_url": issuer.url, "client_id": "gate", "client_secret": "client"}

    async def story() -> Any:
        await kept(
            tmp_path,
            lists=("sk-lists", ""),
            client=(issuer.secret, "production"),
            staff=("staff-token-of-lee", "staging"),
        )()
        credentials: dict[str, dict[str, Any]] = {"lists": {"tools": ()}, "client": {}, "staff": exchanged}
        app = an_app(tmp_path, shop, ["lists", "staff"], agents=agents, credentials=credentials)
        async with app.gate() as gate:
            return await ask(gate, "tester", "pay")

    crossed = through(shop, story)

    assert isinstance(crossed, EnvironmentCrossed)
    assert crossed.thing == "the credential `client`"
    assert issuer.asked == []
    assert shop.called() == []


@pytest.mark.parametrize(
    ("environment", "sent"), [("staging", STAGING), ("production", PRODUCTION), ("development", None)]
)
def test_one_file_names_the_credential_of_each_environment_and_the_gate_uses_its_own(
    tmp_path: Path, environment: str, sent: str | None
) -> None:
    shop = a_shop()
    file = tmp_path / "answerable.toml"
    (tmp_path / "policy" / "authorize").mkdir(parents=True)
    (tmp_path / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')

    async def story() -> None:
        file.write_text(f"""
            environment = "{environment}"
            [credentials.staging]
            from_env = "SHOP_STAGING"
            environment = "staging"
            [credentials.production]
            from_env = "SHOP_PRODUCTION"
            environment = "production"
            [servers.shop]
            url = "{shop.url}"
            credential = ["staging", "production"]
        """)
        if sent is None:
            with pytest.raises(CredentialOutOfScope, match="the gate itself"):
                async with configured(read_config(file), file=file, environment={}).gate():
                    pass
        else:
            async with configured(read_config(file), file=file, environment={}).gate():
                pass

    with pytest.MonkeyPatch.context() as patch:
        if sent is not None:  # the other's variable is not set, and not missed
            patch.setenv(f"SHOP_{environment.upper()}", sent)
        through(shop, story)

    assert {token for _, token in shop.seen} == {sent} - {None}


def in_a_variable(**said: str) -> dict[str, dict[str, Any]]:
    return {"shop": {"variable": "SHOP_TOKEN", **said}}


@pytest.mark.parametrize("declared", ["", "staging"])
def test_variables_of_another_environment_keep_the_gate_from_starting_whatever_the_file_says_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    shop = a_shop()
    monkeypatch.setenv("SHOP_TOKEN", PRODUCTION)
    monkeypatch.setenv("ANSWERABLE_ENVIRONMENT", "production")

    async def story() -> None:
        app = an_app(tmp_path, shop, "shop", environment="staging", credentials=in_a_variable(environment=declared))
        with pytest.raises(EnvironmentCrossed, match="belongs to `production`"):
            async with app.gate():
                pass

    through(shop, story)

    assert shop.seen == []
    assert refusals(tmp_path) == [("what the gate was started with (its variables)", "production", "staging")]


def test_a_secret_in_a_variable_of_which_nothing_says_where_it_belongs_is_not_used_where_that_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = a_shop()
    monkeypatch.setenv("SHOP_TOKEN", STAGING)

    async def story() -> Any:
        with pytest.raises(
            CredentialInvalid, match=r"`SHOP_TOKEN` belongs to `staging`.*ANSWERABLE_ENVIRONMENT=staging"
        ):
            async with an_app(tmp_path, shop, "shop", environment="staging", credentials=in_a_variable()).gate():
                pass
        assert shop.seen == []
        monkeypatch.setenv("ANSWERABLE_ENVIRONMENT", "staging")
        async with an_app(tmp_path, shop, "shop", environment="staging", credentials=in_a_variable()).gate() as gate:
            await ask(gate, "clerk", "pay")

    through(shop, story)

    assert shop.called() == ["pay"]


def test_in_a_gate_of_no_environment_variables_serve_the_agents_of_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = a_shop()
    monkeypatch.setenv("SHOP_TOKEN", STAGING)
    monkeypatch.setenv("ANSWERABLE_ENVIRONMENT", "staging")
    agents = {"tester": {"environment": "staging"}, "clerk": {"environment": "development"}}
    declared = {"lists": {"tools": ()}, **in_a_variable()}

    async def story() -> list[Any]:
        await kept(tmp_path, lists=("sk-lists", ""))()
        async with an_app(tmp_path, shop, ["lists", "shop"], agents=agents, credentials=declared).gate() as gate:
            return [await ask(gate, name, "pay") for name in agents] + [errors(gate)]

    _, crossed, codes = through(shop, story)

    assert [token for what, token in shop.seen if what == "pay"] == [STAGING]
    assert isinstance(crossed, EnvironmentCrossed)
    assert codes == ["config.environment_crossed"]


def test_a_credential_for_a_role_is_used_by_agents_in_it_and_for_its_tools_only(tmp_path: Path) -> None:
    shop = a_shop()
    agents: dict[str, dict[str, Any]] = {
        "clerk": {"groups": ["cashiers", "readers"]},
        "porter": {"groups": ["readers"]},
        "guest": {},
    }
    declared: dict[str, dict[str, Any]] = {
        "pays": {"tools": ("shop.pay",), "groups": ("cashiers", "managers")},
        "looks": {"tools": ("shop.look",), "groups": ("readers",)},
    }

    async def story() -> list[Any]:
        await kept(tmp_path, pays=("sk-pays", ""), looks=("sk-looks", ""))()
        async with an_app(tmp_path, shop, ["pays", "looks"], agents=agents, credentials=declared).gate() as gate:
            said = [(name, tool, await ask(gate, name, tool)) for name in agents for tool in ("pay", "look")]
            return [said, errors(gate)]

    said, codes = through(shop, story)

    refused = [(name, tool) for name, tool, result in said if isinstance(result, CredentialOutOfScope)]
    assert refused == [("porter", "pay"), ("guest", "pay"), ("guest", "look")]
    assert [call for call in shop.seen if call[0] in ("pay", "look")] == [
        ("pay", "sk-pays"),
        ("look", "sk-looks"),
        ("look", "sk-looks"),
    ]
    assert codes == ["refused.credential_out_of_scope"] * 3
