"""How a request fails below HTTP's own statuses. Whoever asks says what that means for its caller."""

__all__ = ["AnswerBroken", "NotConnected"]


class NotConnected(Exception):
    """Nothing was sent: there is no connection."""


class AnswerBroken(Exception):
    """The request may have arrived; its answer did not, or is none."""
