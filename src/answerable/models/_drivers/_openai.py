"""Models behind the Chat Completions wire: OpenAI's own, and every server that speaks it.

Source: OpenAI API reference, "Create chat completion", "Structured outputs".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from answerable.models._drivers._http import ProviderClient
from answerable.models._errors import ModelKeyMissing, ModelReplyInvalid, ProviderUnusable
from answerable.models._ports import ModelReply, ModelRequest, ProviderFacts

__all__ = ["OpenAIConfig", "OpenAIProvider", "parse_openai_config"]

_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIConfig:
    """Where the models are, and the key that opens them.

    Args:
        key: sent as a bearer token; empty where the server wants none. Never printed.
        base_url: up to and including `/v1`.
        name: the provider's name in `name:model`, so that several servers can stand side by side.
        timeout: for one whole reply.
        prices_of: address of the provider whose list prices apply; by default `base_url`.
        tokens_parameter: what the wire calls the most it may write; empty chooses by address.
        proxy: address of the proxy to go through.
        ca_file: certificates to trust instead of the usual ones.
    """

    key: str = field(default="", repr=False)
    base_url: str = _OPENAI
    name: str = "openai"
    timeout: timedelta = timedelta(seconds=120)
    prices_of: str = ""
    tokens_parameter: str = ""
    proxy: str = ""
    ca_file: str = ""

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("https://", "http://")):
            raise ProviderUnusable(provider=self.name, problem="its base URL does not begin with http:// or https://")


def parse_openai_config(environment: Mapping[str, str]) -> OpenAIConfig:
    """The configuration that environment variables give.

    Read are `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `HTTPS_PROXY` and `SSL_CERT_FILE`.

    Raises:
        ModelKeyMissing: no key, for a provider that needs one.
        ProviderUnusable: the base URL is not one.
    """
    base_url = environment.get("OPENAI_BASE_URL") or _OPENAI
    key = environment.get("OPENAI_API_KEY", "").strip()
    if not key and base_url.rstrip("/") == _OPENAI:
        raise ModelKeyMissing(provider="openai", variable="OPENAI_API_KEY")
    proxy, ca_file = environment.get("HTTPS_PROXY", ""), environment.get("SSL_CERT_FILE", "")
    return OpenAIConfig(key=key, base_url=base_url, proxy=proxy, ca_file=ca_file)


class OpenAIProvider:
    """Chat Completions over kept connections."""

    def __init__(self, config: OpenAIConfig) -> None:
        self.name = config.name
        self._config = config
        self._url = config.base_url.rstrip("/") + "/chat/completions"
        own = config.base_url.rstrip("/") == _OPENAI
        self._tokens_parameter = config.tokens_parameter or ("max_completion_tokens" if own else "max_tokens")
        self._client = ProviderClient(proxy=config.proxy, ca_file=config.ca_file)

    def describe(self, model: str) -> ProviderFacts:
        return ProviderFacts(prices_of=self._config.prices_of or self._config.base_url, timeout=self._config.timeout)

    async def complete(self, request: ModelRequest) -> ModelReply:
        name = f"{self.name}:{request.model}"
        headers = {"authorization": f"Bearer {self._config.key}"} if self._config.key else {}
        said = await self._client.whole(
            self._url,
            json.dumps(self._body(request)).encode(),
            headers=headers,
            model=name,
            within=self._config.timeout,
        )
        return _reply(name, request, said)

    async def close(self) -> None:
        await self._client.close()

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [dict(message) for message in request.messages],
            self._tokens_parameter: request.max_tokens,
        }
        if request.schema is not None:
            schema = {"name": "reply", "schema": request.schema, "strict": _is_strict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


def _reply(name: str, request: ModelRequest, body: bytes) -> ModelReply:
    try:
        said = json.loads(body)
        choice = said["choices"][0]
        message = choice["message"]
        text = message.get("content")
        text = message.get("refusal") if text is None else text
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        problem = f"not a chat completion ({type(error).__name__})"
        raise ModelReplyInvalid(model=name, problem=problem) from None
    if not isinstance(text, str):
        raise ModelReplyInvalid(model=name, problem="it holds no text")
    read, written = _counted(said.get("usage"))
    is_metered = read is not None and written is not None
    return ModelReply(
        text=text,
        model=said["model"] if isinstance(said.get("model"), str) else request.model,
        # An uncounted reply is taken at what it could have been, so that a budget errs on the safe side.
        input_tokens=read if read is not None else sum(len(m["content"].encode()) for m in request.messages) // 2,
        output_tokens=written if written is not None else request.max_tokens,
        finish=choice["finish_reason"] if isinstance(choice.get("finish_reason"), str) else "stop",
        is_metered=is_metered,
    )


def _counted(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return (
        read if isinstance(read, int) and read >= 0 else None,
        written if isinstance(written, int) and written >= 0 else None,
    )


def _is_strict(schema: Any) -> bool:
    """Whether the wire's strict mode takes this schema: closed objects, every property required."""
    if isinstance(schema, list):
        return all(_is_strict(inner) for inner in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    return all(_is_strict(inner) for inner in schema.values())
