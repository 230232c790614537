"""Notices: people are told that something waits for them, or that a budget runs low.

Only told: no delivery decides, resumes or loses anything. What waits stands on the record. A notice is
tried until it is delivered or until nothing waits any more; a gate that starts again tells again, under
the same id.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from answerable.core import TenantId
from answerable.policy._deciding import Approval, Approvals
from answerable.policy._errors import NoticeLost

__all__ = ["Channel", "Notice", "Notices"]

_log = logging.getLogger("answerable.policy")
_LOOK_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """That something waits, or has come near its limit. Never the arguments: a mail box is not the record.

    Args:
        id: the same for the same thing, however often it is told.
        kind: `approval.waiting` or `budget.threshold`.
        title: in a line, for a mail's subject.
        role: whose mail box it is for.
        at: when it came up.
        said: what a channel passes on, by name.
    """

    id: str
    kind: str
    title: str
    role: str
    at: datetime
    said: Mapping[str, str]


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
    """Tells people, by every channel, of everything that waits and of budgets that run low.

    Args:
        link: the page's address, to which the approval's id is added.
        look_s: how often the record is looked at.
        alerts: what else there is to tell now.
        tenant: of whose approvals people are told.
    """

    def __init__(
        self,
        approvals: Approvals,
        channels: Sequence[Channel],
        *,
        link: str = "",
        look_s: float = _LOOK_S,
        alerts: Callable[[], Iterable[Notice]] = tuple,
        tenant: TenantId = TenantId("default"),
    ) -> None:
        self._approvals = approvals
        self._channels = tuple(channels)
        self._link = link
        self._look_s = look_s
        self._alerts = alerts
        self._tenant = tenant
        self._telling: dict[str, asyncio.Task[None]] = {}

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
        standing = [*map(self._notice, self._approvals.list(tenant=self._tenant)), *self._alerts()]
        notices = {notice.id: notice for notice in standing}
        for id in self._telling.keys() - notices.keys():
            self._telling.pop(id).cancel()
        for id in notices.keys() - self._telling.keys():
            self._telling[id] = asyncio.create_task(self._tell(notices[id]))

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
            kind="approval.waiting",
            title=f"{waiting.name} waits for {waiting.role}",
            role=waiting.role,
            at=waiting.asked,
            said={
                "approval": waiting.approval,
                "action": waiting.name,
                "agent": waiting.agent,
                "run": waiting.run,
                "role": waiting.role,
                "due": waiting.due.isoformat(),
                "link": f"{self._link}#{waiting.approval}" if self._link else "",
            },
        )
