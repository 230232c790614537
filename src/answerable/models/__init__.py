"""Models: called by the gate itself, metered, and held to the schema they were asked for."""

from answerable.models._dialects import Check, NotGoverned
from answerable.models._drivers import (
    AnthropicConfig,
    AnthropicProvider,
    LocalConfig,
    LocalProvider,
    OpenAIConfig,
    OpenAIProvider,
    Script,
    ScriptedProvider,
    parse_anthropic_config,
    parse_openai_config,
)
from answerable.models._errors import (
    LocalModelMissing,
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
from answerable.models._upstreams import DialectName, Upstream, Upstreams, WireCall

__all__ = [
    "AnthropicConfig",
    "AnthropicProvider",
    "Check",
    "DialectName",
    "LocalConfig",
    "LocalModelMissing",
    "LocalProvider",
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
    "NotGoverned",
    "OpenAIConfig",
    "OpenAIProvider",
    "Provider",
    "ProviderFacts",
    "ProviderUnusable",
    "Script",
    "ScriptFailed",
    "ScriptedProvider",
    "Upstream",
    "Upstreams",
    "WireCall",
    "parse_anthropic_config",
    "parse_openai_config",
]
