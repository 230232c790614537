"""Where people write: one desk a tenant, in a gate or for one write of the command line."""

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from answerable.app._environment import bound_environment, record_refusal
from answerable.app._in_flight import in_flight
from answerable.app._ledger import all_projections, start_ledger
from answerable.core import Clock, RunId, StepKey, TenantId, parse_time, stable_json
from answerable.identity import (
    AccessKeys,
    Approvers,
    EnvironmentCrossed,
    HolderKind,
    People,
    SealedVault,
    SigningKeys,
)
from answerable.ledger import Draft, Ledger, Reader, control_run
from answerable.policy import (
    Approvals,
    Autonomy,
    Labels,
    PolicySet,
    Stops,
)
from answerable.runtime import (
    DEFAULT_TENANT,
    Agents,
    Control,
    Erasing,
    Retaining,
    Retention,
    RunRow,
    Runs,
    RunUnknown,
    Schedules,
    TenantRefused,
    TenantUnknown,
    find_run,
)
from answerable.tools import Pinning, Pins, Toolbox

__all__ = ["Desk", "open_desk"]


class Desk:
    """Where people of one tenant write: approvals, answers to doubts, signals, stops. Every answer comes as JSON.

    SECURITY: what belongs to another tenant is not there, in the words in which nothing is there.

    Args:
        tenants: those there are; None where nobody knows, because no application is loaded.
    """

    def __init__(
        self,
        ledger: Ledger,
        runs: Runs,
        control: Control,
        *,
        approvals: Approvals,
        stops: Stops,
        tools: Toolbox | None = None,
        tenant: TenantId = DEFAULT_TENANT,
        tenants: frozenset[TenantId] | None = None,
    ) -> None:
        self.tenant = tenant
        self._tenants = tenants
        self.ledger = ledger
        self.runs = runs
        self.approvals = approvals
        self.stops = stops
        self.labels = Labels(book=ledger, store=ledger.reader, tenant=tenant)
        self._tools = tools
        self.control = control
        self.erasing = Erasing(ledger)
        self.agent_keys = AccessKeys(
            "agent", book=ledger, store=ledger.reader, tenant=tenant, changes=lambda: ledger.key_changes
        )
        self.pinning = Pinning(tools or Toolbox(), Pins(store=ledger.reader, book=ledger))
        self.person_keys = AccessKeys("person", book=ledger, store=ledger.reader, tenant=tenant)
        self.people = People(book=ledger, store=ledger.reader, tenant=tenant)
        self.signing_keys = SigningKeys(book=ledger, store=ledger.reader, tenant=tenant)

    def of(self, tenant: str) -> "Desk":
        """The desk of another tenant.

        Raises:
            TenantUnknown: there is no such tenant.
        """
        name = TenantId(tenant)
        if name == self.tenant:
            return self
        if self._tenants is not None and name not in self._tenants:
            raise TenantUnknown(tenant=tenant)
        own = Approvers.on(self.ledger, self.reader, tenant=name)
        return Desk(
            self.ledger,
            self.runs,
            self.control,
            approvals=replace(self.approvals, approvers=own),
            stops=self.stops,
            tools=self._tools,
            tenant=name,
            tenants=self._tenants,
        )

    def own(self, run: str) -> RunRow:
        """A run of this tenant.

        Raises:
            RunUnknown: it has none of this id.
        """
        row = find_run(self.reader, RunId(run))
        if row is None or row.tenant != self.tenant:
            raise RunUnknown(run=RunId(run), problem="there is no such run")
        return row

    def _for_all(self, do: str) -> None:
        if self.tenant != DEFAULT_TENANT:
            raise TenantRefused(do=do, tenant=self.tenant)

    @property
    def reader(self) -> Reader:
        """The record, to read."""
        return self.ledger.reader

    async def start(self, *, agent: str, input: Any = None, **asked: Any) -> dict[str, str]:
        """Open a run of this tenant; the words are those of `Gate.start`."""
        tenant = "" if self.tenant == DEFAULT_TENANT else self.tenant
        return {"run": await self.runs.start(agent, input, tenant=tenant, **asked)}

    async def statement(
        self,
        *,
        approval: str,
        decision: Literal["approve", "reject"],
        key: str,
        reason: str,
        scope: Literal["action", "run"] = "action",
        arguments: Any = None,
    ) -> dict[str, str]:
        """What a person signs to give this answer with their key."""
        said = self.approvals.statement(
            approval,
            decision,
            key=key,
            reason=reason,
            scope=scope,
            arguments=_json(arguments),
            tenant=self.tenant,
        )
        return {"statement": said.decode()}

    async def decide(
        self,
        *,
        approval: str,
        decision: Literal["approve", "reject"],
        by: str,
        roles: Sequence[str],
        reason: str,
        scope: Literal["action", "run"] = "action",
        arguments: Any = None,
        also: Sequence[str] = (),
        signature: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Approve or reject a held action, or approve it with other arguments, and further values for the run."""
        found = await self.approvals.decide(
            approval,
            decision,
            by=by,
            roles=roles,
            reason=reason,
            scope=scope,
            arguments=_json(arguments),
            also=also,
            signature=signature,
            tenant=self.tenant,
        )
        said = {"approval": found.approval, "state": found.state, "run": found.run, "receipt": found.decided}
        return {**said, "votes": found.votes, "of": found.terms.n}

    async def person(
        self,
        *,
        do: Literal["set", "remove"],
        name: str,
        roles: Sequence[str] = (),
        reports_to: str = "",
        deputy: str = "",
        deputy_until: str = "",
    ) -> dict[str, Any]:
        """Register a person with their roles and where they stand, or remove them."""
        if do == "remove":
            await self.people.remove(name)
            return {"removed": name}
        until = parse_time(deputy_until) if deputy_until else None
        found = await self.people.set(name, roles, reports_to=reports_to, deputy=deputy, deputy_until=until)
        return {"person": found.name, "called": found.person, "roles": list(found.roles)}

    async def autonomy(
        self,
        *,
        agent: str,
        tier: str,
        environment: str,
        effects: Sequence[str],
        role: str = "",
        by: str,
        reason: str,
        measured: str = "",
        undo: str = "",
        evidence: Sequence[dict[str, str]] = (),
    ) -> dict[str, Any]:
        """Change what an agent may do by itself."""
        found = await Autonomy(book=self.ledger, store=self.ledger.reader).set(
            agent,
            tier,
            environment=environment,
            effects=effects,
            role=role,
            by=by,
            reason=reason,
            measured=measured,
            undo=undo,
            evidence=evidence,
        )
        return {"agent": agent, "tiers": [asdict(each) for each in found]}

    async def signer(self, *, do: Literal["add", "revoke"], named: str, public: str = "") -> dict[str, Any]:
        """Register a P-256 key (SubjectPublicKeyInfo, base64) to the person named, or revoke the key named."""
        if do == "revoke":
            await self.signing_keys.revoke(named)
            return {"revoked": named}
        key = await self.signing_keys.add(named, base64.b64decode(public))
        return {"person": named, "id": key.id}

    async def signal(self, *, run: str, name: str, payload: Any, key: str = "") -> dict[str, str]:
        """Send a named signal to a run."""
        self.own(run)
        await self.runs.signal(RunId(run), name, payload, key=key)
        return {"run": run, "signal": name}

    async def resolve(
        self,
        *,
        run: str,
        step: str,
        happened: bool,
        result: Any,
        by: str,
        reason: str,
        evidence: Sequence[dict[str, str]] = (),
    ) -> dict[str, str]:
        """Say what became of an effect in doubt."""
        self.own(run)
        said: dict[str, Any] = {"happened": happened, "result": result, "by": by, "reason": reason}
        await self.runs.resolve(RunId(run), StepKey(step), evidence=evidence, **said)
        return {"run": run, "step": step, "happened": "yes" if happened else "no"}

    async def order(self, *, do: Literal["pause", "resume", "kill"], run: str, by: str, reason: str) -> dict[str, str]:
        """Pause, resume or kill a run."""
        self.own(run)
        await getattr(self.control, do)(RunId(run), by=by, reason=reason)
        return {"run": run, "state": {"pause": "paused", "resume": "resumed", "kill": "killed"}[do]}

    async def fork(
        self, *, run: str, at: str, by: str, reason: str, changed: Mapping[str, Any] | None = None, key: str = ""
    ) -> dict[str, str]:
        """Open a run that shares what had begun before a place in this one.

        Args:
            changed: `input`, `model`, and `policy`: policies as a snapshot has them (`PolicySet.snapshot`).

        Raises:
            PolicyInvalid: its policies cannot be used; nothing is opened.
        """
        differs = dict(changed or {})
        row = self.own(run)
        if "policy" in differs:
            snapshot = PolicySet.from_snapshot(stable_json(differs["policy"]), where="the fork's policy").snapshot()
            differs["policy"] = await self.ledger.store_object(row.tenant, snapshot)
        new = await self.control.fork(RunId(run), at, by=by, reason=reason, changed=differs, key=key)
        return {"run": new, "from": run}

    async def retry(self, *, run: str, by: str, reason: str, key: str = "") -> dict[str, str]:
        """Try a run again from the step that it failed with."""
        self.own(run)
        return {"run": await self.control.retry(RunId(run), by=by, reason=reason, key=key), "from": run}

    async def roll_back(self, *, run: str, to: str = "", by: str, reason: str, partial: bool = False) -> dict[str, str]:
        """Open a run that undoes what this one did."""
        self.own(run)
        new = await self.control.roll_back(RunId(run), to, by=by, reason=reason, partial=partial)
        return {"run": new, "from": run}

    async def erase(self, *, subject: str = "", run: str = "", by: str, reason: str) -> dict[str, Any]:
        """Erase every text that concerns a person, or every text of a run."""
        if run:
            self.own(run)
        done = await self.erasing.erase(subject=subject, run=RunId(run), tenant=self.tenant, by=by, reason=reason)
        said = {"erasure": done.erasure.id, "texts": done.texts, "runs": done.runs, "isScrubbed": done.is_scrubbed}
        lists = {"closed": done.closed, "unknown": done.unknown, "untold": map(str, done.untold)}
        return {**said, **{name: list(each) for name, each in lists.items()}}

    async def retain(self, *, rules: Sequence[Mapping[str, Any]], rehearsal: bool = False) -> list[dict[str, Any]]:
        """Follow rules of retention now; or say what that would drop."""
        self._for_all("retain")
        said = []
        for each in rules:
            rule = Retention(
                keep=timedelta(seconds=each["keep_s"]),
                texts=each["texts"],
                agent=each["agent"],
                tenant=TenantId(each["tenant"]),
            )
            done = await Retaining(self.ledger, ()).follow(rule, is_rehearsal=rehearsal)
            said.append({**each, "runs": done.runs, "dropped": done.texts, "kept": list(done.kept)})
        return said

    async def legal_hold(
        self, *, do: Literal["hold", "release"], subject: str = "", run: str = "", by: str, reason: str
    ) -> dict[str, str]:
        """Keep what concerns a person, or of a run, or everything, from being erased; or end that."""
        if run:
            self.own(run)
        scope = await self.erasing.hold(
            subject=subject, run=RunId(run), tenant=self.tenant, by=by, reason=reason, release=do == "release"
        )
        return {"scope": scope, "state": {"hold": "held", "release": "released"}[do]}

    async def schedule(self, *, do: Literal["pause", "resume"], name: str, by: str, reason: str) -> dict[str, str]:
        """Pause or resume a schedule."""
        await getattr(Schedules(self.ledger, self.runs, tenant=self.tenant), do)(name, by=by, reason=reason)
        return {"schedule": name, "state": {"pause": "paused", "resume": "active"}[do]}

    async def key(
        self,
        *,
        do: Literal["new", "revoke"],
        named: str,
        kind: HolderKind = "agent",
        roles: Sequence[str] = (),
        environment: str = "",
    ) -> dict[str, Any]:
        """Issue a key to an agent or a person, whose secret is told this once; or revoke what is named.

        An agent's key is for the environment that the log belongs to, and for no other.
        """
        keys = self.agent_keys if kind == "agent" else self.person_keys
        if do == "revoke":
            return {"revoked": [key.id for key in await keys.revoke(named)]}
        bound = bound_environment(self.reader) if kind == "agent" else ""
        if bound and environment not in ("", bound):
            raise EnvironmentCrossed(thing="the log", bound=bound, environment=environment)
        key, secret = await keys.new(named, roles, environment=environment or bound)
        return {kind: key.holder, "roles": list(key.roles), "id": key.id, "key": secret}

    async def credential(
        self, *, do: Literal["set", "remove"], named: str, by: str, secret: str = "", environment: str = ""
    ) -> dict[str, str]:
        """Keep a credential in the vault, or keep it no more; the record has its name, and nothing of its secret.

        Args:
            environment: where the secret belongs; by default where the log does.

        Raises:
            EnvironmentCrossed: the log belongs to another environment.
        """
        self._for_all(f"{do} a credential")
        bound = bound_environment(self.reader)
        if bound and environment not in ("", bound):
            crossed = EnvironmentCrossed(thing=f"the credential `{named}`", bound=environment, environment=bound)
            await record_refusal(self.ledger, crossed)
            raise crossed
        vault = SealedVault(self.ledger.directory)
        said = {"credential": named, "state": "kept" if do == "set" else "gone"}
        if do == "remove":
            vault.remove(named)
        elif place := vault.put(named, secret, environment=environment or bound):
            said["environment"] = place
        called = self.ledger.pseudonym(self.tenant, f"person:{by.rpartition(':')[2]}")
        control = {"do": "credential", **said, "by": called}
        await self.ledger.append(
            Draft(
                tenant=self.tenant,
                run=control_run(self.tenant),
                phase="control",
                agent="",
                members={"control": control},
            )
        )
        return said

    async def accept(self, *, tool: str, digest: str, by: str, reason: str) -> dict[str, str]:
        """Take what a tool's server says of it for good; `digest` names what was looked at."""
        self._for_all("accept")
        found = await self.pinning.accept(tool, digest, by=by, reason=reason)
        return {"tool": found.tool, "was": found.state, "digest": found.digest}

    async def declassify(
        self, *, run: str, labels: Sequence[str] = (), values: Sequence[str] = (), by: str, reason: str
    ) -> dict[str, Any]:
        """Take labels off a run, or vouch for values that its critical arguments may have."""
        self.own(run)
        receipt = await self.labels.drop(run, labels=labels, values=values, by=by, reason=reason)
        return {"run": run, "labels": sorted(labels), "values": len(values), "receipt": receipt}

    async def stop(self, *, scope: str, reason: str, by: str) -> dict[str, Any]:
        """Have nothing more done in a scope; what was dispatched before is told, because it may have happened."""
        if scope == "all":
            self._for_all("stop")
        await self.stops.stop(scope, reason=reason, by=by, tenant=self.tenant)
        under_way = [asdict(each) for each in in_flight(self.reader, scope, tools=self._tools, tenant=self.tenant)]
        return {"scope": scope, "state": "stopped", "inFlight": under_way}

    async def lift(self, *, scope: str, reason: str, by: str) -> dict[str, str]:
        """End a stop."""
        if scope == "all":
            self._for_all("lift")
        await self.stops.lift(scope, reason=reason, by=by, tenant=self.tenant)
        return {"scope": scope, "state": "lifted"}


@contextlib.asynccontextmanager
async def open_desk(
    directory: Path, *, tools: Toolbox | None = None, clock: Clock | None = None
) -> AsyncIterator[Desk]:
    """Own the record for a moment, where no gate runs: no agent is advanced, but each write is kept.

    Args:
        tools: started, where tools are to be accepted.

    Raises:
        DirectoryInUse: a gate runs; it has a socket.
    """
    # No agent's code runs in a process that only writes for people.
    ledger = await start_ledger(directory, all_projections(), clock=clock, isolation="same-user")
    try:
        yield Desk(
            ledger,
            Runs(ledger, Agents()),
            Control(ledger),
            approvals=Approvals(
                book=ledger, store=ledger.reader, clock=ledger.clock, approvers=Approvers.on(ledger, ledger.reader)
            ),
            stops=Stops(book=ledger, store=ledger.reader),
            tools=tools,
        )
    finally:
        await ledger.close()


def _json(arguments: Any) -> bytes | None:
    return None if arguments is None else stable_json(arguments)
