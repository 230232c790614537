"""What happened, as every log in the comparison is told it: one tool call and its result, some 400 bytes."""

from typing import Any

__all__ = ["event"]


def event(number: int) -> dict[str, Any]:
    return {
        "tool": "shop.refund",
        "arguments": {"order": f"order-{number:06d}", "minor": 4900 + number % 100, "currency": "EUR"},
        "result": {"refund": f"re_{number:024x}", "state": "succeeded", "note": "x" * 160},
        "reason": "the customer sent a photo that shows the damage",
    }
