"""Whoever reaches a model, and what it costs there."""

from answerable.models._drivers._openai import OpenAIConfig, OpenAIProvider, parse_openai_config
from answerable.models._drivers._prices import cost_nano_usd, load_prices
from answerable.models._drivers._scripted import Script, ScriptedProvider

__all__ = [
    "OpenAIConfig",
    "OpenAIProvider",
    "Script",
    "ScriptedProvider",
    "cost_nano_usd",
    "load_prices",
    "parse_openai_config",
]
