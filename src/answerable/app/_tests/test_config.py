"""`answerable.toml`: what it says is what the gate does; what it cannot mean is told, with its line."""

import base64
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from answerable.app import Answerable, ConfigFileInvalid, SecretMissing, config_schema, configured
from answerable.app._config import parse_config
from answerable.core import Money
from answerable.policy import Budget, Mail, Webhook
from answerable.runtime import Limits, StoreEngine, Temporal

WHOLE = """
data = "record"
policy = "rules"
port = 9000

[times]
patience = "90s"
drain = "2m"

[agents.desk]
owner = "team:support"
own_tools = ["calculator"]
limits = { steps = 20, wall = "8h", cost_usd = "1.50", amount = "50.00 EUR", identical_calls = false }

[servers.shop]
command = ["shop-server", "--books"]
environment = { TZ = "UTC" }
environment_from = { SHOP_KEY = "OUR_SHOP_KEY" }

[servers.crm]
url = "https://crm.example.com/mcp"
bearer_from = "CRM_TOKEN"
call_timeout = "5s"

[tools."shop.refund"]
effect = "irreversible"
idempotency = "request_id"
resource = "order:{order}"
subjects = ["customer:{customer}"]
amount = { minor = "cents", currency_from = "currency" }
timeout = "30s"
retries = 2
attributes = { reversible = false }

[tools."shop.look"]
effect = "read"
trusted = true

[providers.openai]
dialect = "chat"
base_url = "https://models.example.com/v1"
key_from = "MODEL_KEY"
first_byte = "5s"

[providers.backup]
dialect = "chat"
base_url = "https://backup.example.com/v1"

[models]
small = ["openai:small", "backup:small"]

[[budgets]]
scope = "tenant"
period = "day"
cost_usd = "20"

[[budgets]]
scope = "agent:desk"
calls = 100
"""
ENVIRONMENT = {"OUR_SHOP_KEY": "k-1", "CRM_TOKEN": "t-1", "MODEL_KEY": "sk-1"}
SHOP = '[servers.shop]\ncommand = ["a"]\n'
OPENAI = '[providers.openai]\ndialect = "chat"\nbase_url = "https://h/v1"\n'
FILE = Path("/srv/gate/answerable.toml")


def app_of(text: str = WHOLE, environment: dict[str, str] = ENVIRONMENT) -> Answerable:
    return configured(parse_config(text, file=FILE), file=FILE, environment=environment)


def problems(text: str) -> str:
    with pytest.raises(ConfigFileInvalid) as refused:
        parse_config(text, file=FILE)
    return refused.value.problems


@pytest.mark.requirement("TL-1", "TL-4")
def test_a_file_alone_describes_a_whole_application() -> None:
    app = app_of()

    assert (app.data, app.policy) == (FILE.parent / "record", FILE.parent / "rules")
    assert app.times.patience == timedelta(seconds=90)
    assert app.times.drain == timedelta(minutes=2)
    spec, declared = app.agents["desk"]
    wall, most = timedelta(hours=8), Money(5000, "EUR")
    assert spec.limits == Limits(steps=20, wall=wall, cost_nano_usd=1_500_000_000, amount=most, identical_calls=None)
    assert (declared.owner, declared.is_bounded) == ("team:support", True)
    assert app.budgets == (
        Budget(scope="tenant", period="day", cost_nano_usd=20_000_000_000),
        Budget(scope="agent:desk", calls=100),
    )
    assert app.upstreams.candidates("chat", "small") == ("openai:small", "backup:small")


def test_a_tool_is_declared_as_the_file_says_and_its_money_is_read_from_its_arguments() -> None:
    declared = app_of().tools._declared["shop"]["refund"]

    said = declared.describe(
        "shop.refund", {"order": "1001", "customer": "c-7", "cents": 1999, "currency": "EUR"}, schema=""
    )

    assert said.effect == "irreversible"
    assert said.target == "order:1001"
    assert said.subjects == ("customer:c-7",)
    assert said.amount == Money(1999, "EUR")
    assert said.honours_key
    assert said.timeout == timedelta(seconds=30)


@pytest.mark.requirement("TL-5")
def test_credentials_come_from_the_environment_and_one_that_is_not_set_stops_the_start() -> None:
    transports: Any = {name: server._transport for name, server in app_of().tools._servers.items()}  # type: ignore[attr-defined]
    assert transports["shop"].environment == {"TZ": "UTC", "SHOP_KEY": "k-1"}
    assert transports["crm"].headers == {"authorization": "Bearer t-1"}

    for missing in ENVIRONMENT:
        with pytest.raises(SecretMissing, match=missing):
            app_of(environment={**ENVIRONMENT, missing: " "})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'data = "x"\n[agents.desk]\nownr = "team:a"',
            "line 3: `agents.desk.ownr` is no key of this table; did you mean `owner`?",
        ),
        ("prot = 80", "line 1: `prot` is no key of this table; did you mean `port`?"),
        (
            "[agents.desk]\nlimits = { stps = 3 }",
            "line 2: `agents.desk.limits.stps` is no key of this table; did you mean `steps`?",
        ),
        (
            "[agents.desk.limits]\nsteps = true",
            "line 2: `agents.desk.limits.steps` must be a whole number above 0, or false",
        ),
        (
            '[agents.desk.limits]\n\ntokens = "many"',
            "line 3: `agents.desk.limits.tokens` must be a whole number above 0",
        ),
        ("[agents.desk.limits]\ncost_usd = 5.0", "line 2: `agents.desk.limits.cost_usd` must be US dollars in quotes"),
        ("[times]\npatience = 20", "line 2: `times.patience` must be a time such as"),
        ('port = "8700"', "line 1: `port` must be a whole number"),
        ('[servers.a]\ncommand = "run me"', "line 2: `servers.a.command` must be a list"),
        ("[servers.a]\n", "line 1: `servers.a` needs either a `command` or a `url`"),
        ('[servers.a]\nurl = "https://u:p@host/mcp"', "has credentials in its `url`"),
        ('[servers.a]\nurl = "https://h/mcp"\nheaders = { Authorization = "x" }', "`Authorization` in clear"),
        (
            SHOP + '[tools."shp.look"]\neffect = "read"',
            'line 3: `tools."shp.look"` belongs to no server that is named here; did you mean `shop`?',
        ),
        (
            SHOP + '[tools."shop.look"]\neffect = "reed"',
            "line 4: `tools.\"shop.look\".effect` must be 'read', 'write' or 'irreversible'",
        ),
        (SHOP + '[tools."shop.pay"]\nresource = "o:{a.b}"', "names `{a.b}`, and a template names arguments"),
        (SHOP + '[tools."shop.pay"]\namount = { minor = "a" }', "needs either `currency` or `currency_from`"),
        (SHOP + '[tools."shop.pay"]\ncompensate = "bank.undo"', "names `bank.undo`, whose server is not named here"),
        ('[providers.openai]\ndialect = "chat"', "line 1: `providers.openai.base_url` is missing"),
        (
            OPENAI + '[models]\nm = ["openia:m"]',
            "line 5: `models.m` names `openia:m`, which is no `provider:model`; did you mean `openai`?",
        ),
        ('[[budgets]]\nscope = "tenant"', "line 1: `budgets[0]` limits nothing"),
        (
            '[agents.desk]\n[[budgets]]\nscope = "tenant"\ncalls = 1\n[[budgets]]\nscope = "agent:dsk"\ncalls = 1',
            "line 6: `budgets[1].scope` names no agent; did you mean `desk`?",
        ),
        ("port = ", "it is not TOML"),
    ],
    ids=lambda said: said.splitlines()[-1][:40],
)
def test_a_mistake_is_told_with_its_line_and_what_may_have_been_meant(text: str, told: str) -> None:
    assert told in problems(text)


def test_every_mistake_is_told_at_once() -> None:
    said = problems('prot = 1\n[agents.desk]\nownr = "a"\n[times]\nidle = "soon"')

    assert [each.split(":")[0] for each in said.split("; line")] == ["line 1", " 3", " 5"]


def test_keys_in_any_spelling_of_toml_are_found() -> None:
    assert problems('agents."desk".limits.steps = 0').startswith("line 1: `agents.desk.limits.steps`")
    assert problems("[ agents . 'desk' ] # it\nowner=1").startswith("line 2: `agents.desk.owner`")


@pytest.mark.parametrize(("said", "is_minor", "money"), [(19.99, False, 1999), ("5", False, 500), (5, True, 5)])
def test_an_amount_is_read_in_its_unit(said: Any, is_minor: bool, money: int) -> None:
    key = "minor" if is_minor else "major"
    text = f'[servers.a]\ncommand = ["a"]\n[tools."a.pay"]\namount = {{ {key} = "sum", currency = "EUR" }}'
    declared = app_of(text).tools._declared["a"]["pay"]

    assert declared.describe("a.pay", {"sum": said}, schema="").amount == Money(money, "EUR")


def test_the_schema_for_editors_agrees_with_the_parser() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())

    jsonschema.validate(tomllib.loads(WHOLE), config_schema())
    for wrong in ("prot = 1", '[times]\nidle = "soon"', "[agents.desk.limits]\nsteps = 0"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(wrong), config_schema())


NOTIFIED = """
page = "https://gate.example.com/decide"
[[notify]]
webhook = "https://chat.example.com/hooks/1"
secret_from = "HOOK_SECRET"
[[notify]]
mail = "mail.example.com"
sender = "gate@example.com"
to = { lead = ["lea@example.com"] }
password_from = "MAIL_PASSWORD"
[[notify]]
webhook = "https://acme.example.com/hooks/2"
secret_from = "HOOK_SECRET"
tenant = "acme"
[[budgets]]
scope = "mandate:spring"
amount = "250.00 EUR"
alerts = [80, 100]
tell = "lead"
"""


@pytest.mark.requirement("GV-2", "MD-3")
def test_who_is_told_and_of_what_stands_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "answerable.toml"
    secret = base64.b64encode(b"k" * 32).decode()

    app = configured(
        parse_config(NOTIFIED, file=file), file=file, environment={"HOOK_SECRET": secret, "MAIL_PASSWORD": "p"}
    )

    webhook, mail = app.notify
    assert isinstance(webhook, Webhook)
    assert isinstance(mail, Mail)
    (theirs,) = app.notify_tenants["acme"]
    assert isinstance(theirs, Webhook)
    assert theirs.url == "https://acme.example.com/hooks/2"
    assert (webhook.secret, mail.password, mail.to) == (secret, "p", {"lead": ["lea@example.com"]})
    assert app.page == "https://gate.example.com/decide"
    assert app.budgets == (Budget(scope="mandate:spring", amount=Money(25000, "EUR"), alerts=(80, 100), tell="lead"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[notify]]\nsecret_from = "S"', "needs either a `webhook` or a `mail` server"),
        ('[[notify]]\nwebhook = "https://x"\nmail = "y"', "needs either"),
        ('[[notify]]\nwebhook = "https://x"', "needs `secret_from`"),
        ('[[notify]]\nwebhook = "x"\nsecret_from = "S"', "does not begin with http"),
        ('[[notify]]\nwebhook = "https://x"\nsecret_from = "S"\nsender = "a@x"', "are for `mail`"),
        ('[[notify]]\nmail = "x"\nsender = "a@x"', "needs `sender`, and `to`"),
        ('[[notify]]\nmail = "x"\nsender = "a@x"\nto = { l = ["b@x"] }\nsecret_from = "S"', "is for a `webhook`"),
        ('[[budgets]]\nscope = "tenant"\namount = "250"', "must be an amount and its currency"),
        ('[[budgets]]\nscope = "tenant"\namount = "2.505 EUR"', "must be an amount and its currency"),
        ('[[budgets]]\nscope = "tenant"\ncalls = 1\nalerts = [120]', "is not allowed"),
        ('[[budgets]]\nscope = "run:x"\ncalls = 1', "must match"),
        ('[[budgets]]\nscope = "tenant"\nalerts = [80]', "limits nothing"),
    ],
)
def test_notices_and_budgets_that_could_not_work_are_told_with_their_line(text: str, says: str) -> None:
    with pytest.raises(ConfigFileInvalid, match=says):
        parse_config(text, file=Path("answerable.toml"))


@pytest.mark.requirement("RT-5")
def test_the_engine_is_the_files_with_its_key_from_the_environment_and_never_in_what_is_shown() -> None:
    text = '[engine]\nkind = "temporal"\naddress = "temporal.example.com:7233"\nqueue = "desk"\nca_file = "ca.pem"\n'
    text += 'api_key_from = "TEMPORAL_KEY"\nheartbeat = "9s"\n'

    app = app_of(text, {"TEMPORAL_KEY": "tk-1"})

    assert app.engine == Temporal(
        address="temporal.example.com:7233",
        queue="desk",
        ca_file=FILE.parent / "ca.pem",
        api_key="tk-1",
        heartbeat=timedelta(seconds=9),
    )
    assert "tk-1" not in repr(app.engine)
    assert app_of().engine is StoreEngine


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('kind = "celery"', "`engine.kind` must be 'store' or 'temporal'"),
        ('address = "temporal:7233"', "`engine.kind` is `store`, and the other keys are for `temporal`"),
        ('kind = "temporal"\naddress = "temporal"', "`engine.address` must match"),
        ('kind = "temporal"\nkey_file = "a.pem"', "`engine` needs `certificate_file` and `key_file`, or neither"),
    ],
)
def test_an_engine_that_cannot_be_meant_is_refused_with_its_line(said: str, problem: str) -> None:
    assert problem in problems(f"[engine]\n{said}\n")
