"""What identity asks over the network: authorization servers, for tokens."""

from answerable.identity._drivers._tokens import TokenEndpoint

__all__ = ["TokenEndpoint"]
