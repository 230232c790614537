"""Notices: people are told that something waits for them. Only told: no delivery decides, resumes or loses anything.

What waits stands on the record. A notice is tried until it is delivered or until nothing waits any
more; a gate that starts again tells again, under the same id.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from answerable.policy._deciding import Approval, Approvals
from answerable.policy._errors import NoticeLost

__all__ = ["Channel", "Notice", "Notices"]

_log = logging.getLogger("answerable.policy")
_LOOK_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """That something waits: what, for whom, until when. Never the arguments: a mail box is not the record.

    Args:
        id: the same for the same approval and role, however often it is told.
        link: where to look at it and answer.
    """

    id: str
    approval: str
    action: str
    agent: str
    run: str
    role: str
    asked: datetime
    due: datetime
    link: str = ""

    def said(self) -> dict[str, str]:
        """What a channel passes on."""
        return {
            "approval": self.approval,
            "action": self.action,
            "agent": self.agent,
            "run": self.run,
            "role": self.role,
            "due": self.due.isoformat(),
            "link": self.link,
        }


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str:
        """What the gate's log calls it."""

    async def tell(self, notice: Notice) -> None:
        """Deliver a notice.

        Raises:
            NoticeLost: it may not have arrived.
        """


class Notices:
    """Tells people, by every channel, of everything that waits.

    Args:
        link: the page's address, to which the approval's id is added.
        look_s: how often the record is looked at.
    """

    def __init__(
        self, approvals: Approvals, channels: Sequence[Channel], *, link: str = "", look_s: float = _LOOK_S
    ) -> None:
        self._approvals = approvals
        self._channels = tuple(channels)
        self._link = link
        self._look_s = look_s
        self._telling: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Tell, until cancelled."""
        if not self._channels:
            return
        try:
            while True:
                self._look()
                await asyncio.sleep(self._look_s)
        finally:
            for task in self._telling.values():
                task.cancel()

    def _look(self) -> None:
        waiting = {(str(each.approval), each.stage): each for each in self._approvals.list()}
        for key in self._telling.keys() - waiting.keys():
            self._telling.pop(key).cancel()
        for key in waiting.keys() - self._telling.keys():
            self._telling[key] = asyncio.create_task(self._tell(self._notice(waiting[key])))

    async def _tell(self, notice: Notice) -> None:
        await asyncio.gather(*(self._deliver(channel, notice) for channel in self._channels))

    async def _deliver(self, channel: Channel, notice: Notice) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await channel.tell(notice)
                return
            except NoticeLost as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001 - the port's outer edge: logged and tried again; a channel's own fault must not end the others
                _log.exception("notice %s: channel %s failed", notice.id, channel.name)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _notice(self, waiting: Approval) -> Notice:
        return Notice(
            id=f"{waiting.approval}.{waiting.stage}",
            approval=waiting.approval,
            action=waiting.name,
            agent=waiting.agent,
            run=waiting.run,
            role=waiting.role,
            asked=waiting.asked,
            due=waiting.due,
            link=f"{self._link}#{waiting.approval}" if self._link else "",
        )
