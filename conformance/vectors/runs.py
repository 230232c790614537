"""Bundles whose receipts say what they should, or not: chain, time, steps, approvals, people, texts."""

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from conformance.vectors.making import (
    GATE,
    LOG,
    STRANGER,
    Run,
    Said,
    bundle,
    canonical,
    person_pem,
    sha256,
    trust_text,
)

__all__ = ["TRUSTS", "Cases", "an_ordinary_run", "run_cases"]

_ZERO = "sha256:" + "0" * 64
TRUSTS = {
    "plain": trust_text(),
    "people": trust_text(person_key=person_pem()),
    "kept apart by a user": trust_text(isolation="separate-user"),
    "kept apart by a machine": trust_text(isolation="remote"),
    "people until three": trust_text(person_key=person_pem(), person_key_until="2026-11-21T03:00:00Z"),
    "in use since noon": trust_text(gate_key_from="2026-11-21T12:00:00Z"),
    "in use until three": trust_text(gate_key_until="2026-11-21T03:00:00.5Z"),
    "in use then": trust_text(gate_key_from="2026-11-21T04:00:00Z", gate_key_until="2026-11-21T05:00:00Z"),
}


class Cases:
    """Bundles, each with the verdict, the check that fails first, and the receipt it names."""

    def __init__(self) -> None:
        self.all: list[Said] = []

    def add(
        self,
        name: str,
        members: Said,
        check: str = "",
        *,
        receipt: str = "",
        trust: str = "plain",
        verdict: str = "",
        assurance: str = "local",
        unknown: list[str] | None = None,
    ) -> None:
        expected: Said = {"verdict": verdict or ("does not verify" if check else "verified"), "check": check}
        expected["assurance"] = "" if check else assurance
        if receipt:
            expected["receipt"] = receipt
        if unknown is not None:
            expected["unknown"] = unknown
        self.all.append({"name": name, "trust": trust, "expect": expected, "members": members})

    def run(self, name: str, run: Run, check: str = "", *, at: int = -1, **more: Any) -> None:
        """A bundle of one run; `at` is the seq of the receipt at fault."""
        change, key = more.pop("change", None), more.pop("key", GATE)
        expected = {
            word: more.pop(word) for word in ("trust", "verdict", "assurance", "unknown", "receipt") if word in more
        }
        if at >= 0:
            expected["receipt"] = run.said[at]["id"]
        self.add(name, bundle(run.envelopes(change, key), **more), check, **expected)


def an_ordinary_run() -> Run:
    """A write, a read, a refusal, an approved and a lost write."""
    run = Run()
    run.outcome(1, run.intent(1))
    run.read(2)
    run.denied(3)
    run.held(4)
    run.outcome(4, run.intent(4, authority={"approvals": [run.approval(4)]}))
    run.intent(5)
    run.add("run.close")
    return run


def said(number: int, **members: Any) -> Callable[[list[Said]], None]:
    """Changes what one receipt says."""
    return lambda receipts: receipts[number].update(members)


def run_cases() -> list[Said]:
    cases = Cases()
    _signatures(cases)
    _chain(cases)
    _steps(cases)
    _approvals(cases)
    _people(cases)
    _texts(cases)
    _erasures(cases)
    return cases.all


def _signatures(cases: Cases) -> None:
    case = cases.run
    case("an ordinary run", an_ordinary_run(), unknown=[f"rcpt_{9:024x}"])
    case("without a trust file", an_ordinary_run(), trust="", verdict="self-consistent", assurance="dev")
    case("kept apart as asked for", an_ordinary_run(), trust="kept apart by a user")
    case("kept apart by less", an_ordinary_run(), trust="kept apart by a machine", verdict="undetermined")
    near = {"id": "gate_1", "boot": "boot_1", "n": 3, "isolation": "nearby"}
    odd: Said = {"trust": "kept apart by a user", "verdict": "undetermined"}
    case("kept apart in an unknown way", an_ordinary_run(), change=said(3, boundary=near), **odd)
    case("another key", an_ordinary_run(), "signature", at=0, key=STRANGER)
    case("another key, and no trust file", an_ordinary_run(), "signature", at=0, key=STRANGER, trust="")
    case("the log's key on receipts", an_ordinary_run(), "key-role", at=0, key=LOG)
    case("the gate's key was in use", an_ordinary_run(), trust="in use then")
    case("the gate's key was not in use yet", an_ordinary_run(), "key-period", at=0, trust="in use since noon")
    case("the gate's key was in use no longer", an_ordinary_run(), "key-period", at=0, trust="in use until three")


def _chain(cases: Cases) -> None:
    case = cases.run
    case(
        "a seq is skipped",
        an_ordinary_run(),
        "chain",
        change=lambda said: [r.update(seq=r["seq"] + 1) for r in said[4:]],
    )
    case("prev names something else", an_ordinary_run(), "chain", at=3, change=said(3, prev=_ZERO))
    close = {"state": "done", "count": 3}
    case("run.close states a wrong count", an_ordinary_run(), "chain", at=10, change=said(10, control=close))
    close = {"state": "done", "count": 10, "last": _ZERO}
    case("run.close states another last", an_ordinary_run(), "chain", at=10, change=said(10, control=close))
    twice = f"rcpt_{3:024x}"
    case("an id is used twice", an_ordinary_run(), "chain", receipt=twice, change=said(4, id=twice))
    run = Run(starts=False)
    run.add("signal", control={"name": "go"})
    run.add("run.close")
    case("a run that was never opened", run, "chain", at=0)
    run = Run()
    run.add("run.close")
    run.add("signal", control={"name": "late"})
    case("a signal after run.close", run, "chain", at=2)
    run = an_erased_run()
    run.add("signal", control={"name": "late"})
    case("a signal after run.close and an erasure", run, "chain", at=5)
    run = Run()
    intent = run.intent(1)
    run.add("run.close")
    run.add("observation", attempt=1, intentRef=intent, effect={"status": "ok", "observedBy": "gate"}, **run.action(1))
    case("an observation after run.close", run, unknown=[intent])
    early = "2026-11-21T03:00:00.000000Z"
    case("the clock runs backwards", an_ordinary_run(), "time", at=4, change=said(4, at=early))
    case("a run without run.close", Run(), verdict="undetermined")
    run = Run(starts=False)
    run.name = "control:acme"
    run.add("control", control={"do": "policy"})
    case("a control run is never closed", run)
    doubled = {"id": "gate_1", "boot": "boot_1", "n": 3, "isolation": "separate-user"}
    case("n is used twice", an_ordinary_run(), "counters", at=4, change=said(4, boundary=doubled))
    case("n skips a number that was never logged", an_ordinary_run(), "counters", at=6, change=_skip_n)
    case("n falls", an_ordinary_run(), "counters", at=5, change=said(5, boundary={**doubled, "n": 2}))
    case("n is larger than its place in the log", an_ordinary_run(), "counters", at=0, change=_n_from_seven)
    case("another boot counts anew", an_ordinary_run(), change=_boot_again)


def _skip_n(said: list[Said]) -> None:
    for predicate in said[6:]:
        predicate["boundary"]["n"] += 1


def _n_from_seven(said: list[Said]) -> None:
    for predicate in said:
        predicate["boundary"]["n"] += 7


def _boot_again(said: list[Said]) -> None:
    for n, predicate in enumerate(said[5:]):
        predicate["boundary"] |= {"boot": "boot_2", "n": n}


def _steps(cases: Cases) -> None:
    case = cases.run
    refused = {"status": "refused", "observedBy": "gate"}

    def of(*write: Callable[[Run], object]) -> Run:
        run = Run()
        for each in write:
            each(run)
        run.add("run.close")
        return run

    first = f"rcpt_{1:024x}"
    done: tuple[Callable[[Run], object], ...] = (lambda r: r.outcome(1, r.intent(1)),)
    case("two outcomes of a step", of(*done, lambda r: r.outcome(1, first)), "steps", at=3)
    case("the outcome of a write without an intent", of(lambda r: r.outcome(1)), "steps", at=1)
    case("a refused write needs no intent", of(lambda r: r.outcome(1, effect=refused)))
    case("an outcome answers another step's intent", of(lambda r: r.outcome(2, r.intent(1))), "steps", at=2)
    case(
        "an outcome answers another attempt's intent", of(lambda r: r.outcome(1, r.intent(1), attempt=2)), "steps", at=2
    )
    case("an outcome of another action", of(lambda r: r.outcome(1, r.intent(1), minor=5)), "steps", at=2)
    case("an outcome before its intent", of(lambda r: r.outcome(1, f"rcpt_{2:024x}"), lambda r: r.intent(1)), "steps")
    case("an outcome that does not name its intent", of(lambda r: r.intent(1), lambda r: r.read(1)), "steps", at=2)
    case("a second attempt", of(lambda r: r.intent(1), lambda r: r.outcome(1, r.intent(1, 2), attempt=2)))
    case("an attempt that does not rise", of(lambda r: r.intent(1), lambda r: r.intent(1)), "steps", at=2)
    run = of(lambda r: r.intent(1), lambda r: r.intent(1, 2))
    other = {**run.said[2]["action"], "idempotencyKey": "x"}
    case("an attempt with another idempotency key", run, "steps", at=2, change=said(2, action=other))
    case("an intent after a denial", of(lambda r: r.denied(1), lambda r: r.intent(1)), "steps", at=2)
    case("an outcome after a denial", of(lambda r: r.denied(1), lambda r: r.outcome(1, first)), "steps", at=2)
    case("denied after its outcome", of(*done, lambda r: r.denied(1)), "steps", at=3)
    case("an intent after the outcome", of(*done, lambda r: r.intent(1, 2)), "steps", at=3)
    case("an intent that was denied", of(lambda r: r.intent(1, authority={"decision": "deny"})), "steps", at=1)
    case("held twice for one action", of(lambda r: r.held(1), lambda r: r.held(1)), "steps", at=2)
    case(
        "an observation of nothing",
        of(lambda r: r.add("observation", intentRef=first[:-1] + "9", **r.action(1))),
        "steps",
        at=1,
    )
    case(
        "a lost attempt is written off",
        of(lambda r: r.intent(1), lambda r: r.add("control", control={"do": "write-off", "intent": first})),
        unknown=[],
    )
    run = of(lambda r: r.intent(1))
    run.said[1]["action"]["name"] = "refund_all"
    case("the digest is of another action", run, "digests", at=1)
    run = of(lambda r: r.outcome(1, r.intent(1, minor=900), minor=900))
    run.said[1]["action"]["amount"] = {"minor": 100, "currency": "EUR"}
    case("the digest is of another amount", run, "digests", at=1)
    again = {"input": _ZERO}
    case(
        "a read that concerns further people keeps its digest",
        of(lambda r: r.read(1, control={"subjects": ["party_bo"]}) and r.said[-1].update(commitments=again)),
    )


def _approvals(cases: Cases) -> None:
    def approvals(
        name: str,
        check: str = "",
        *,
        at: int = -1,
        held: Said | None = None,
        answers: list[Said] | None = None,
        cites: list[int] | None = None,
        **intent: Any,
    ) -> None:
        run = Run()
        if held is not None:
            run.held(1, **held)
        given = [run.approval(1, **answer) for answer in answers or []]
        authority = {"approvals": [given[each] for each in cites] if cites is not None else given}
        obliged = intent.pop("obligations", None)
        if obliged:
            authority["obligations"] = obliged
        run.intent(1, authority=authority, **intent)
        run.add("run.close")
        cases.run(name, run, check, at=at)

    bo = {"by": "party_bo"}
    approvals("a held action goes ahead unapproved", "approvals", at=2, held={})
    approvals("approved by the one who asked", "approvals", at=2, held={}, answers=[{"by": "party_ada"}])
    approvals("the one who asked may approve", held={"notInitiator": False}, answers=[{"by": "party_ada"}])
    approvals("a rejection is cited as an approval", "approvals", at=3, held={}, answers=[{"decision": "reject"}])
    approvals("two of two", held={"n": 2}, answers=[{}, bo])
    approvals("one of two", "approvals", at=3, held={"n": 2}, answers=[{}])
    approvals("the same person twice", "approvals", at=3, held={"n": 2}, answers=[{}, {}])
    approvals("answered after it was settled", "approvals", at=3, held={}, answers=[{}, bo])
    approvals("given in another role", "approvals", at=2, held={}, answers=[{"role": "clerk"}])
    escalated = {"decision": "escalate", "to": "chief", "by": "clock"}
    approvals("escalated", held={}, answers=[escalated, {"role": "chief"}], cites=[1])
    approvals("the first role after an escalation", "approvals", at=3, held={}, answers=[escalated, {}], cites=[1])
    approvals("timed out", "approvals", at=3, held={}, answers=[{"decision": "timeout", "by": "clock"}])
    approvals("an approval of another action", "approvals", at=2, held={}, answers=[{"digest": _ZERO}])
    approvals("an approval of nothing", "approvals", at=1, answers=[{}])
    approvals("not signed where that was asked", "approvals", at=2, held={"signed": True}, answers=[{}])
    approvals("an obligation without an approval", "approvals", at=1, obligations=["approve:role=lead,n=1"])
    approvals("an obligation of another kind", obligations=["rate:10/h"])
    approvals("fewer than the obligation asks", "approvals", at=3, held={}, answers=[{}], obligations=["approve:n=2"])
    chief = ["approve:role=chief"]
    approvals("in another role than the obligation", "approvals", at=3, held={}, answers=[{}], obligations=chief)
    all_run = {"scope": "run"}
    more: Said = {"held": {"minor": 900, "mayRepeat": True}, "minor": 500}
    approvals("for the rest of the run", answers=[{**all_run, "minor": 900}], obligations=["approve:n=1"], **more)
    more = {"held": {"minor": 500, "mayRepeat": True}, "minor": 900, "obligations": ["approve:n=1"]}
    approvals("more than for the rest of the run", "approvals", at=3, answers=[{**all_run, "minor": 500}], **more)
    more = {"held": {"minor": 900}, "minor": 500, "obligations": ["approve:n=1"]}
    approvals("for a run that was not offered", "approvals", at=3, answers=[{**all_run, "minor": 900}], **more)
    edited = Run().action(1, minor=500)["action"]["digest"]
    change = {"decision": "edit", "edited": edited, "minor": 900}
    approvals("edited", held={"minor": 900, "mayEdit": True}, answers=[change], minor=500)
    approvals("edited without leave", "approvals", at=2, held={"minor": 900}, answers=[change], minor=500)
    change = {"decision": "edit", "edited": _ZERO, "minor": 900}
    approvals(
        "edited into another action",
        "approvals",
        at=3,
        held={"minor": 900, "mayEdit": True},
        answers=[change],
        minor=500,
    )


def _people(cases: Cases) -> None:
    def people(name: str, check: str = "", *, trust: str = "people", **more: Any) -> None:
        run = Run()
        run.held(1, signed=True)
        run.intent(1, authority={"approvals": [run.signed(1, **more)]})
        run.add("run.close")
        cases.run(name, run, check, at=2 if check else -1, trust=trust)

    people("signed by a person")
    people("signed by a person whom no trust names", trust="plain")
    people("signed with a key that was in use no longer", "key-period", trust="people until three")
    people("another reason than was signed", "people", reason="why not")
    people("signed by somebody else", "people", key=ec.derive_private_key(8, ec.SECP256R1()))
    people("signed with a passkey", passkey={})
    people("a passkey's answer to another site", "people", passkey={"rp": "elsewhere.example"})
    people("a passkey that did not verify who was there", "people", passkey={"flags": 0x01})
    people("a passkey's answer to another question", "people", passkey={"client": b'{"type":"webauthn.get"}'})
    people("a signature without its parts", "people", signature={"kind": "file"})
    people("a signature that is text", "people", signature="me")


def _texts(cases: Cases) -> None:
    salt = b"\x07" * 32
    text = salt + b'{"order":"1001"}'

    def case(name: str, check: str = "", *, request: Any = None, more: Said | None = None, **opened: Any) -> None:
        run = Run(**opened)
        authority = {}
        members = dict(more or {})
        if request is not None:
            content = salt + (request if isinstance(request, bytes) else canonical(request))
            members[f"disclosed/{sha256(content)}"] = content
            authority["request"] = "sha256:" + sha256(content)
        run.intent(1, authority=authority)
        run.said[-1]["commitments"] = {**run.said[-1]["commitments"], "output": "sha256:" + sha256(text)}
        run.add("run.close")
        at = 1 if check == "requests" else -1
        cases.run(name, run, check, at=at, disclosed=True, changed=members)

    request = {
        "principal": {"type": "Agent", "id": "clerk"},
        "action": {"type": "Action", "id": "refund"},
        "resource": {"type": "Resource", "id": "order:1001"},
        "context": {},
    }
    case("a disclosed text", more={f"disclosed/{sha256(text)}": text})
    case("a text that is not what its name says", "texts", more={f"disclosed/{sha256(text)}": text + b" "})
    case("a text that nobody committed to", "texts", more={"disclosed/" + sha256(salt): salt})
    case("a text in capitals", "texts", more={"disclosed/" + sha256(text).upper(): text})
    short = b"short"
    run = Run()
    run.read(1, commitments={"input": "sha256:" + sha256(short)})
    run.said[-1]["control"] = {"subjects": []}
    run.add("run.close")
    cases.run("shorter than a salt", run, "texts", disclosed=True, changed={f"disclosed/{sha256(short)}": short})
    policy = b"permit (principal, action, resource);\n"
    run = Run(specs={"refunds": "sha256:" + sha256(b"# Refunds\n")})
    run.intent(1, authority={"policy": "sha256:" + sha256(policy)})
    run.add("run.close")
    folder = {f"policy/{sha256(policy)}": policy, f"specs/{sha256(b'# Refunds' + bytes([10]))}": b"# Refunds\n"}
    cases.run("policy and specification in force", run, disclosed=True, changed=folder)
    case("a request of this agent and action", request=request)
    case("a request that was never asked", request={})
    case("a request of another agent", "requests", request={**request, "principal": {"id": "thief"}})
    thief = {**request, "principal": {"id": "thief"}}
    case("agents that delegated, in one text", "requests", request=thief, chain="a thief is no chief")
    case("agents that delegated, and no list", "requests", request=thief, chain=5)
    case("a request of an agent that delegated", request={**request, "principal": {"id": "chief"}}, chain=["chief"])
    case("a request about another resource", "requests", request={**request, "resource": {"id": "order:1"}})
    case("a request that names no resource", "requests", request={**request, "resource": "order:1001"})
    case("a request that is not JSON", "requests", request=b"{")


def an_erased_run(*, erased: str = "1-2", texts: int = 2, state: str = "done", **opened: Any) -> Run:
    """A write whose texts were erased after the run had ended, by a receipt that says so."""
    run = Run(**opened)
    run.outcome(1, run.intent(1))
    run.add("run.close", control={"state": state, "count": 3})
    run.erased(erased, texts=texts)
    return run


def _erasures(cases: Cases) -> None:
    case = cases.run
    given = b"\x05" * 32 + b'{"order":"1001"}'
    here: Said = {"disclosed": True, "changed": {f"disclosed/{sha256(given)}": given}}

    case("texts that were erased", an_erased_run())
    case("an erasure that names nothing, as older gates wrote it", an_erased_run(erased=""))
    case("texts erased by a rule of retention", _kept_no_longer())
    case("an erased text that is still here", an_erased_run(), "erasures", **here)
    case("a text that one receipt keeps and another lost", an_erased_run(erased="1", texts=1), **here)
    case("an erasure of a receipt that commits to no text", an_erased_run(erased="0-2", texts=3), "erasures", at=4)
    case("an erasure of what was not written yet", an_erased_run(erased="1-2,9", texts=3), "erasures", at=4)
    case("an erasure of itself", an_erased_run(erased="1-2,4", texts=3), "erasures", at=4)
    case("an erasure that counts another number of texts", an_erased_run(texts=5), "erasures", at=4)
    for name, erased in (
        ("that are not sorted", "2,1"),
        ("that could be one", "1,2"),
        ("that end where they begin", "1-1"),
        ("with white space", "1, 2"),
        ("that are not there", "-"),
        ("with leading zeros", "01-02"),
    ):
        case(f"an erasure of spans {name}", an_erased_run(erased=erased), "erasures", at=4)
    case("an erasure whose spans are a list", an_erased_run(), "erasures", at=4, change=_with_control(4, erased=[1, 2]))
    case("closed as erased", an_erased_run(state="erased"))
    unsaid = an_erased_run(state="erased")
    unsaid.said.pop()
    case("closed as erased without an erasure", unsaid, "erasures", at=3)
    shared = {"how": "fork", "run": f"run_{9:024x}"}
    fork = an_erased_run(state="erased", origin=shared)
    fork.said.pop()
    case("a fork closed for what it shared", fork)


def _kept_no_longer() -> Run:
    run = an_erased_run()
    run.said[-1]["control"] |= {"kind": "tool", "reason": "kept for 60 s after its end"}
    return run


def _with_control(number: int, **members: Any) -> Callable[[list[Said]], None]:
    return lambda receipts: receipts[number]["control"].update(members)
