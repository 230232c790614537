"""The composition root: the only place that knows every room."""

from answerable.app._app import Answerable
from answerable.app._gate import Gate
from answerable.app._record import Desk, all_projections, open_desk

__all__ = ["Answerable", "Desk", "Gate", "all_projections", "open_desk"]
