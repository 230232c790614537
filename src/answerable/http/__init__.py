"""HTTP/1.1 as the gate asks it of others: kept connections, no redirects, no cookies, nothing from the environment."""

from answerable.http._drivers import HttpAnswer, HttpClient
from answerable.http._errors import AnswerBroken, NotConnected

__all__ = ["AnswerBroken", "HttpAnswer", "HttpClient", "NotConnected"]
