"""The code of policy that touches the network: how people are told that something waits for them."""

from answerable.policy._drivers._mail import Mail
from answerable.policy._drivers._webhook import Webhook

__all__ = ["Mail", "Webhook"]
