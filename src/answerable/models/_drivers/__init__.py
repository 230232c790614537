"""Whoever reaches a model, and what it costs there."""

from answerable.models._drivers._anthropic import AnthropicConfig, AnthropicProvider, parse_anthropic_config
from answerable.models._drivers._http import ProviderClient, refusal_of
from answerable.models._drivers._local import LocalConfig, LocalProvider
from answerable.models._drivers._openai import OpenAIConfig, OpenAIProvider, parse_openai_config
from answerable.models._drivers._prices import cost_nano_usd, load_prices
from answerable.models._drivers._scripted import Script, ScriptedProvider

__all__ = [
    "AnthropicConfig",
    "AnthropicProvider",
    "LocalConfig",
    "LocalProvider",
    "OpenAIConfig",
    "OpenAIProvider",
    "ProviderClient",
    "Script",
    "ScriptedProvider",
    "cost_nano_usd",
    "load_prices",
    "parse_anthropic_config",
    "parse_openai_config",
    "refusal_of",
]
