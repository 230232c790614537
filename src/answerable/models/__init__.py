"""Models: called by the gate itself, metered, and held to the schema they were asked for."""

from answerable.models._drivers import OpenAIConfig, OpenAIProvider, Script, ScriptedProvider, parse_openai_config
from answerable.models._errors import (
    ModelCallInvalid,
    ModelKeyMissing,
    ModelLost,
    ModelRejected,
    ModelReplyInvalid,
    ModelUnavailable,
    ModelUnknown,
    ProviderUnusable,
    ScriptFailed,
)
from answerable.models._models import Models
from answerable.models._ports import Message, ModelReply, ModelRequest, Provider, ProviderFacts

__all__ = [
    "Message",
    "ModelCallInvalid",
    "ModelKeyMissing",
    "ModelLost",
    "ModelRejected",
    "ModelReply",
    "ModelReplyInvalid",
    "ModelRequest",
    "ModelUnavailable",
    "ModelUnknown",
    "Models",
    "OpenAIConfig",
    "OpenAIProvider",
    "Provider",
    "ProviderFacts",
    "ProviderUnusable",
    "Script",
    "ScriptFailed",
    "ScriptedProvider",
    "parse_openai_config",
]
