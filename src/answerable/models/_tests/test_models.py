"""Model calls: what is refused, reserved, metered, asked again and given up."""

import asyncio
from typing import Any

import orjson
import pytest

from answerable.action import Step
from answerable.core import Action, AgentId, Effect, Outcome, RunId, StepKey, TenantId, Usage
from answerable.models import (
    Message,
    ModelCallInvalid,
    ModelKeyMissing,
    ModelLost,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
    Models,
    ModelUnavailable,
    ModelUnknown,
    OpenAIConfig,
    OpenAIProvider,
    ProviderFacts,
    ProviderUnusable,
    ScriptedProvider,
    ScriptFailed,
    parse_openai_config,
)

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
HELLO = [{"role": "user", "content": "hello"}]


class Vendor:
    """A provider that replies what it is told to, and keeps what it was asked."""

    name = "vendor"

    def __init__(self, *replies: str | Exception, prices_of: str = "") -> None:
        self.replies = list(replies)
        self.asked: list[ModelRequest] = []
        self.prices_of = prices_of

    def describe(self, model: str) -> ProviderFacts:
        return ProviderFacts(prices_of=self.prices_of)

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.asked.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return ModelReply(text=reply, model=request.model, input_tokens=1000, output_tokens=100)

    async def close(self) -> None:
        pass


def models_of(*providers: Any) -> Models:
    models = Models()
    for provider in providers:
        models.add(provider)
    return models


def ask(models: Models, name: str, **said: Any) -> Outcome:
    body = orjson.dumps({"messages": HELLO, "maxTokens": 50, **said})
    action = Action(
        tenant=TenantId("default"),
        run=RunId("run_1"),
        agent=AgentId("a"),
        step=StepKey("s"),
        branch="",
        kind="model",
        name=name,
        arguments=body,
        described=models.describe("model", name, body),
        environment="test",
    )
    return asyncio.run(models.execute(Step(action=action, status="admitted")))


def test_a_call_is_a_read_that_reserves_its_ceiling_and_names_its_model() -> None:
    described = models_of(Vendor()).describe("model", "vendor:m", orjson.dumps({"messages": HELLO, "maxTokens": 50}))

    assert described.effect is Effect.READ
    assert described.ceiling == Usage(input_tokens=11, output_tokens=50, calls=1)
    assert described.model == {"provider": "vendor", "id": "m"}


@pytest.mark.requirement("MD-3")
def test_usage_is_metered_and_priced_within_the_ceiling() -> None:
    models = models_of(Vendor("hi", prices_of="https://api.openai.com/v1"))
    said = orjson.dumps({"messages": [{"role": "user", "content": "x" * 2000}], "maxTokens": 100})

    ceiling = models.describe("model", "vendor:gpt-4o-mini", said).ceiling
    outcome = ask(models, "vendor:gpt-4o-mini")

    # 0.15 and 0.60 dollars a million tokens, list price of gpt-4o-mini since 2024.
    assert outcome.usage == Usage(input_tokens=1000, output_tokens=100, cost_nano_usd=210_000, calls=1)
    assert outcome.result["priced"] is True
    assert ceiling.cost_nano_usd >= outcome.usage.cost_nano_usd


@pytest.mark.requirement("MD-3")
def test_a_model_without_a_list_price_costs_nothing_and_the_record_says_so(caplog: pytest.LogCaptureFixture) -> None:
    outcome = ask(models_of(Vendor("hi", prices_of="http://127.0.0.1:1/v1")), "vendor:home-made")

    assert outcome.usage.cost_nano_usd == 0
    assert outcome.result["priced"] is False
    assert "home-made" in caplog.text


@pytest.mark.parametrize("text", ['{"n":7}', '```json\n{"n":7}\n```', ' {"n": 7}\n'])
def test_a_structured_reply_is_parsed_against_the_schema_asked_for(text: str) -> None:
    outcome = ask(models_of(Vendor(text)), "vendor:m", schema=SCHEMA)

    assert outcome.result["data"] == {"n": 7}
    assert outcome.result["text"] == text


def test_a_reply_that_misses_the_schema_is_asked_for_once_more_with_what_was_wrong() -> None:
    vendor = Vendor('{"m":1}', '{"n":7}')

    outcome = ask(models_of(vendor), "vendor:m", schema=SCHEMA)

    assert outcome.result["data"] == {"n": 7}
    assert outcome.usage == Usage(input_tokens=2000, output_tokens=200, calls=2)
    complaint = vendor.asked[1].messages[-1]["content"]
    assert "`n` is missing" in complaint
    assert vendor.asked[1].messages[-2] == {"role": "assistant", "content": '{"m":1}'}


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**25])
def test_a_whole_number_that_no_record_could_hold_is_a_misfit(number: int) -> None:
    vendor = Vendor(f'{{"n":{number}}}', f'{{"n":{2**53 - 1}}}')

    outcome = ask(models_of(vendor), "vendor:m", schema=SCHEMA)

    assert outcome.result["data"] == {"n": 2**53 - 1}
    assert "below 2^53" in vendor.asked[1].messages[-1]["content"]


def test_a_second_misfit_is_final_and_what_it_used_still_counts() -> None:
    vendor = Vendor("I would rather not.", '{"n":"seven"}')

    outcome = ask(models_of(vendor), "vendor:m", schema=SCHEMA)

    assert outcome.status == "failed"
    assert outcome.usage.calls == 2
    assert len(vendor.asked) == 2
    with pytest.raises(ModelReplyInvalid, match="`n` must meet"):
        _ = outcome.result


def test_a_ceiling_with_a_schema_covers_the_second_try() -> None:
    models = models_of(Vendor("x", "y"))
    said = {"messages": HELLO, "maxTokens": 50}

    once = models.describe("model", "vendor:m", orjson.dumps(said)).ceiling
    twice = models.describe("model", "vendor:m", orjson.dumps({**said, "schema": SCHEMA})).ceiling

    assert twice.calls == 2
    assert twice.output_tokens == 2 * once.output_tokens
    assert twice.input_tokens > 2 * once.input_tokens


def test_a_call_not_taken_uses_nothing_and_a_lost_one_its_ceiling() -> None:
    busy = ask(models_of(Vendor(ModelUnavailable(model="m", reason="busy"))), "vendor:m")
    lost = ask(models_of(Vendor(ModelLost(model="m", reason="cut"))), "vendor:m")

    assert (busy.status, busy.usage) == ("failed", Usage(calls=1))
    assert (lost.status, lost.usage) == ("failed", Usage(input_tokens=11, output_tokens=50, calls=1))


@pytest.mark.parametrize("name", ["other:m", "vendor", "vendor:", "scripted:missing"])
def test_an_unknown_model_is_refused_with_what_there_is(name: str) -> None:
    models = models_of(Vendor(), ScriptedProvider({"support": lambda messages: "hi"}))

    with pytest.raises(ModelUnknown, match=r"vendor:…|scripted:support"):
        models.describe("model", name, orjson.dumps({"messages": HELLO, "maxTokens": 50}))


@pytest.mark.parametrize(
    "said",
    [
        {"maxTokens": 5},
        {"messages": [], "maxTokens": 5},
        {"messages": HELLO, "maxTokens": 0},
        {"messages": HELLO, "maxTokens": True},
        {"messages": HELLO, "maxTokens": 5, "temperature": 1},
        {"messages": [{"role": "tool", "content": "x"}], "maxTokens": 5},
        {"messages": [{"role": "user", "content": ["x"]}], "maxTokens": 5},
        {"messages": [{"role": "user"}], "maxTokens": 5},
        {"messages": HELLO, "maxTokens": 5, "schema": "int"},
        {"messages": HELLO, "maxTokens": 5, "schema": {"type": "banana"}},
        [],
    ],
)
def test_a_malformed_call_is_refused(said: Any) -> None:
    with pytest.raises(ModelCallInvalid):
        models_of(Vendor()).describe("model", "vendor:m", orjson.dumps(said))


def test_a_script_counts_four_bytes_a_token_and_keeps_to_the_most_it_may_write() -> None:
    def script(messages: tuple[Message, ...]) -> str:
        return "x" * 1000

    outcome = ask(models_of(ScriptedProvider({"long": script})), "scripted:long")

    assert outcome.usage == Usage(input_tokens=2, output_tokens=50, calls=1)
    assert (len(outcome.result["text"]), outcome.result["finish"]) == (200, "length")


def test_a_script_that_raises_is_a_failure_of_the_script() -> None:
    def script(messages: tuple[Message, ...]) -> str:
        raise KeyError("nothing to say")

    with pytest.raises(ScriptFailed, match="KeyError"):
        _ = ask(models_of(ScriptedProvider({"broken": script})), "scripted:broken").result


def test_two_providers_cannot_share_a_name_or_hold_a_colon() -> None:
    models = models_of(Vendor())
    odd = Vendor()
    odd.name = "a:b"

    with pytest.raises(ProviderUnusable):
        models.add(Vendor())
    with pytest.raises(ProviderUnusable):
        models.add(odd)


def test_a_configuration_is_parsed_from_the_environment_and_never_prints_its_key() -> None:
    config = parse_openai_config(
        {"OPENAI_API_KEY": "sk-very-secret\n", "OPENAI_BASE_URL": "https://models.example.com"}
    )

    assert config.key == "sk-very-secret"
    assert "secret" not in repr(config)
    assert "secret" not in repr(OpenAIProvider(config).__dict__)
    with pytest.raises(ModelKeyMissing, match="OPENAI_API_KEY"):
        parse_openai_config({})
    with pytest.raises(ProviderUnusable):
        OpenAIConfig(base_url="models.example.com")
