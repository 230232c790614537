"""What the gate asks of whoever carries a model call out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

__all__ = ["Cloak", "Message", "ModelReply", "ModelRequest", "Provider", "ProviderFacts"]

Message = Mapping[str, str]
"""`role` (`system`, `user` or `assistant`) and `content`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of a model.

    Args:
        model: the provider's own name for it, without the provider.
        max_tokens: the most it may write.
        schema: JSON schema that the reply must fit, None for free text.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """What a model replied.

    Args:
        text: the reply, whole.
        model: the model as the provider names it in its reply; may be more exact than what was asked.
        input_tokens, output_tokens: as the provider counts them.
        finish: why it stopped: `stop`, `length`, or the provider's own word.
        is_metered: the counts are the provider's; else they are our estimate.
    """

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    finish: str = "stop"
    is_metered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """What is known of a model before it is called.

    Args:
        prices_of: address of the provider whose list prices apply; empty if it costs nothing.
        timeout: after which the gate stops waiting.
        fingerprint: digest of the very model, where it is known; receipts carry it.
    """

    prices_of: str = ""
    timeout: timedelta | None = None
    fingerprint: str = ""

    def identity(self, provider: str, model: str) -> dict[str, str]:
        """The model as receipts name it."""
        exactly = {"fingerprint": self.fingerprint} if self.fingerprint else {}
        return {"provider": provider, "id": model, **exactly}


class Cloak(Protocol):
    """Hides personal data in a request, and puts it back into the answer."""

    def check(self, action: str, value: Any) -> None:
        """Nothing, unless what must not leave would; raises `Refused` then."""

    def hide(self, value: Any) -> Any:
        """The request's body as it goes out."""

    def reveal_body(self, body: bytes) -> bytes:
        """The answer's body, whole, as the agent gets it."""

    def reveal_events(self, events: bytes) -> bytes:
        """Events of a streamed answer, as far as they can be given already."""

    def reveal_end(self) -> bytes:
        """What of a stream was held back."""


class Provider(Protocol):
    """Someone who serves models."""

    name: str
    """The part before the colon: `openai` in `openai:gpt-5-mini`."""

    def describe(self, model: str) -> ProviderFacts:
        """What is known of this model; raises `ModelUnknown` if the provider surely lacks it."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The model's reply.

        Raises:
            ModelUnavailable, ModelRejected: nothing was used.
            ModelLost, ModelReplyInvalid: the provider may have done the work.
        """

    async def close(self) -> None:
        """Release connections."""
