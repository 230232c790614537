"""Whoever sends requests."""

from answerable.http._drivers._around import Around
from answerable.http._drivers._direct import Connection, Place, dial, head_of, place_of

__all__ = ["Around", "Connection", "Place", "dial", "head_of", "place_of"]
