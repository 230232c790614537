"""A notice as a mail (SMTP, RFC 5321)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from answerable.policy._errors import NoticeInvalid, NoticeLost
from answerable.policy._notices import Notice

if TYPE_CHECKING:
    from email.message import EmailMessage

__all__ = ["Mail"]

_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Writes to the people of the role that is asked.

    Args:
        to: addresses by role; a role that is not named is not written to.
        tls: `starttls` unless the server is on this machine, `tls` from the first byte, or `none`.
        user, password: where the server asks for them.
    """

    host: str
    sender: str
    to: Mapping[str, Sequence[str]]
    port: int = 587
    tls: str = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.tls not in ("starttls", "tls", "none"):
            raise NoticeInvalid(channel="mail", problem="`tls` is `starttls`, `tls` or `none`")
        if self.tls == "none" and self.password:
            raise NoticeInvalid(channel="mail", problem="a password does not cross the network in clear")

    @property
    def name(self) -> str:
        """What the gate's log calls it."""
        return f"mail {self.host}"

    async def tell(self, notice: Notice) -> None:
        """Deliver it to the mail server."""
        people = self.to.get(notice.role, ())
        if not people:
            return
        # Here, because every command imports this package and few tell anybody.
        import smtplib
        from email.message import EmailMessage
        from email.utils import format_datetime

        message = EmailMessage()
        message["Subject"] = notice.title
        message["From"] = self.sender
        message["To"] = ", ".join(people)
        message["Date"] = format_datetime(notice.at)
        message["Message-ID"] = f"<{notice.id}@answerable>"  # tried again, it is the same mail
        lines = [f"{name}: {value}" for name, value in notice.said.items() if value]
        message.set_content("\n".join([*lines, "", "This mail decides nothing. Look at it, and answer there."]))
        try:
            await asyncio.to_thread(self._send, message)
        except (OSError, smtplib.SMTPException) as error:
            raise NoticeLost(channel=self.name, problem=type(error).__name__) from None

    def _send(self, message: "EmailMessage") -> None:
        import smtplib
        import ssl

        context = ssl.create_default_context()
        server: smtplib.SMTP
        if self.tls == "tls":
            server = smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_S)
        with server:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
            server.send_message(message)
