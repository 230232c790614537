"""Whoever reaches witnesses, time-stamping authorities and logs elsewhere."""

from answerable.witness._drivers._http import AsyncHttp, fetching

__all__ = ["AsyncHttp", "fetching"]
