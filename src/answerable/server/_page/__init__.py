"""`/decide`: a page on which a person sees what waits and answers, with a passkey where they have one."""

from answerable.server._page._routes import page_routes

__all__ = ["page_routes"]
