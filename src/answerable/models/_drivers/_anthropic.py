"""Models behind the Messages wire: Anthropic's own, and every server that speaks it.

Source: Anthropic API reference, "Create a Message".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from answerable.models._drivers._http import ProviderClient
from answerable.models._errors import ModelKeyMissing, ModelReplyInvalid, ProviderUnusable
from answerable.models._ports import ModelReply, ModelRequest, ProviderFacts

__all__ = ["AnthropicConfig", "AnthropicProvider", "parse_anthropic_config"]

_ANTHROPIC = "https://api.anthropic.com"
_VERSION = "2023-06-01"
_REPLY = "reply"
_READ = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "stop", "max_tokens": "length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicConfig:
    """Where the models are, and the key that opens them.

    Args:
        key: empty where the server wants none. Never printed.
        base_url: up to but without `/v1`.
        name: the provider's name in `name:model`.
        timeout: for one whole reply.
        prices_of: address of the provider whose list prices apply; by default `base_url`.
        proxy: address of the proxy to go through.
        ca_file: certificates to trust instead of the usual ones.
    """

    key: str = field(default="", repr=False)
    base_url: str = _ANTHROPIC
    name: str = "anthropic"
    timeout: timedelta = timedelta(seconds=120)
    prices_of: str = ""
    proxy: str = ""
    ca_file: str = ""

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("https://", "http://")):
            raise ProviderUnusable(provider=self.name, problem="its base URL does not begin with http:// or https://")


def parse_anthropic_config(environment: Mapping[str, str]) -> AnthropicConfig:
    """The configuration that environment variables give.

    Read are `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`, `HTTPS_PROXY` and `SSL_CERT_FILE`.

    Raises:
        ModelKeyMissing: no key, for a provider that needs one.
        ProviderUnusable: the base URL is not one.
    """
    base_url = environment.get("ANTHROPIC_BASE_URL") or _ANTHROPIC
    key = environment.get("ANTHROPIC_API_KEY", "").strip()
    if not key and base_url.rstrip("/") == _ANTHROPIC:
        raise ModelKeyMissing(provider="anthropic", variable="ANTHROPIC_API_KEY")
    proxy, ca_file = environment.get("HTTPS_PROXY", ""), environment.get("SSL_CERT_FILE", "")
    return AnthropicConfig(key=key, base_url=base_url, proxy=proxy, ca_file=ca_file)


class AnthropicProvider:
    """Messages over kept connections."""

    def __init__(self, config: AnthropicConfig) -> None:
        self.name = config.name
        self._config = config
        self._url = config.base_url.rstrip("/") + "/v1/messages"
        self._client = ProviderClient(proxy=config.proxy, ca_file=config.ca_file)

    def describe(self, model: str) -> ProviderFacts:
        return ProviderFacts(prices_of=self._config.prices_of or self._config.base_url, timeout=self._config.timeout)

    async def complete(self, request: ModelRequest) -> ModelReply:
        name = f"{self.name}:{request.model}"
        key = {"x-api-key": self._config.key} if self._config.key else {}
        said = await self._client.whole(
            self._url,
            json.dumps(_body(request)).encode(),
            headers={"anthropic-version": _VERSION, **key},
            model=name,
            within=self._config.timeout,
        )
        return _reply(name, request, said)

    async def close(self) -> None:
        await self._client.close()


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": [dict(message) for message in request.messages if message["role"] != "system"],
    }
    system = "\n\n".join(message["content"] for message in request.messages if message["role"] == "system")
    body.update({"system": system} if system else {})
    if request.schema is not None:
        # The wire takes a schema for what a tool is called with: so the reply is asked for as such a call.
        told = "Give the reply."
        body["tools"] = [{"name": _REPLY, "description": told, "input_schema": dict(request.schema)}]
        body["tool_choice"] = {"type": "tool", "name": _REPLY}
    return body


def _reply(name: str, request: ModelRequest, body: bytes) -> ModelReply:
    try:
        said = json.loads(body)
        blocks = said["content"]
        called = [json.dumps(block["input"], ensure_ascii=False) for block in blocks if block.get("name") == _REPLY]
        texts = [block["text"] for block in blocks if block.get("type") == "text"]
        text = called[0] if called and request.schema is not None else "".join(texts)
        usage = said.get("usage") or {}
        counts = [usage.get(part) for part in _READ]
        read = None if counts[0] is None else sum(int(count or 0) for count in counts)
        written = usage.get("output_tokens")
        stop = said.get("stop_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelReplyInvalid(model=name, problem=f"not a message ({type(error).__name__})") from None
    if not called and not texts:
        raise ModelReplyInvalid(model=name, problem="it holds no text")
    is_metered = read is not None and isinstance(written, int)
    return ModelReply(
        text=text,
        model=said["model"] if isinstance(said.get("model"), str) else request.model,
        # An uncounted reply is taken at what it could have been, so that a budget errs on the safe side.
        input_tokens=read if read is not None else sum(len(m["content"].encode()) for m in request.messages) // 2,
        output_tokens=written if isinstance(written, int) else request.max_tokens,
        finish=_FINISH.get(stop, stop) if isinstance(stop, str) else "stop",
        is_metered=is_metered,
    )
