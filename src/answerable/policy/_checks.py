"""Check policies as written, and test them against a table of requests and what should come of each."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.core import ConfigError
from answerable.policy._cedar import WHOLE
from answerable.policy._errors import ObligationInvalid, PolicyInvalid
from answerable.policy._evaluation import Evaluation
from answerable.policy._facts import FACTS
from answerable.policy._layers import read_layers
from answerable.policy._lints import Lint, lint_policies
from answerable.policy._obligations import parse_obligations
from answerable.policy._policies import PolicySet, Request
from answerable.policy._schema import CONTEXT, KnownAction
from answerable.policy._width import Declared

__all__ = ["PolicyCheck", "PolicyTest", "PolicyTests", "check_policies", "run_policy_tests"]

_MEMBERS = frozenset(
    {"name", "agent", "groups", "action", "target", "context", "expect", "rules", "obligations", "error"}
)
_DEFAULTS: Mapping[str, Any] = {
    "environment": "development",
    "effect": "write",
    "kind": "tool",
    "labels": [],
    "target_named": True,
    "labelled": True,
    "untrusted_arguments": [],
    "sends": [],
    **dict.fromkeys(FACTS, 0),
    "initiator_roles": [],
    "tier": "execute",
    "clauses": {},
    "hour": 12,
    "weekday": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCheck:
    """Whether a directory of policies can be used.

    Args:
        digest: names the policy set; empty if it cannot be used.
        authorize, obligations: policy ids, sorted; those of layers included.
        tenants: those who have layers of their own.
        lints: what is doubtful though it can be used.
        problem: what is wrong; empty if nothing is.
    """

    where: str
    digest: str = ""
    authorize: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()
    problem: str = ""

    @property
    def is_valid(self) -> bool:
        return not self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTest:
    """One request, what it should come to and what it came to.

    Args:
        problems: each difference, in words; empty if it passed.
    """

    name: str
    evaluation: Evaluation
    problems: tuple[str, ...] = ()

    @property
    def is_passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTests:
    """A table of tests against one policy set.

    Args:
        untried: policies that decided none of the tests: nothing shows that they work.
    """

    digest: str
    tests: tuple[PolicyTest, ...]
    untried: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        return all(test.is_passed for test in self.tests)


def check_policies(
    directory: Path, *, actions: Iterable[KnownAction] | None = None, declared: Declared | None = None
) -> PolicyCheck:
    """Whether the policies in a directory parse, fit the schema and ask only for what is enforced.

    Args:
        declared: what the application declares, to find permits that are wider than all of it.
    """
    try:
        sets = PolicySet.load_all(directory, actions=actions)
    except ConfigError as error:
        return PolicyCheck(where=str(directory), problem=error.message)
    policies = {name: policy for each in sets.values() for name, policy in each.policies.items()}
    lints = dict.fromkeys(lint for each in sets.values() for lint in lint_policies(each.policies, declared))
    return PolicyCheck(
        where=str(directory),
        digest=sets["default"].digest,
        authorize=tuple(sorted(name for name, each in policies.items() if not each.obligations)),
        obligations=tuple(sorted(name for name, each in policies.items() if each.obligations)),
        tenants=tuple(sorted(sets.keys() - {"default"})),
        lints=tuple(sorted(lints, key=lambda lint: (lint.policy, lint.kind, lint.problem))),
    )


def run_policy_tests(
    directory: Path,
    *,
    table: Path | None = None,
    actions: Iterable[KnownAction] | None = None,
    tenant: str = "default",
) -> PolicyTests:
    """Decide each request in a table, and compare.

    The table is TOML: `[[test]]` with `name`, `agent`, its `groups`, `action`, `target`, `context` (what is left out
    has an unremarkable value: no labels, nothing done before, the named target, every clause satisfied, noon of a
    Wednesday), `expect`, and
    if they matter `rules`, `obligations` and `error`. Without `table` it is `tests.toml` in the directory, or
    for a tenant those in the layers that name it.

    Raises:
        PolicyInvalid: the policies or a table cannot be used.
    """
    policies = PolicySet.load(directory, actions=actions, tenant=tenant)
    tests = tuple(
        _test(policies, said, path)
        for path in ([table] if table else _tables(directory, tenant))
        for said in _read_table(path)
    )
    tried = {rule for test in tests for rule in test.evaluation.rules}
    return PolicyTests(digest=policies.digest, tests=tests, untried=tuple(sorted(policies.policies.keys() - tried)))


def _tables(directory: Path, tenant: str) -> list[Path]:
    if tenant == "default":
        return [directory / "tests.toml"]
    its = [layer.where for layer in read_layers(directory) if tenant in (layer.tenants or ())]
    if not its:
        raise PolicyInvalid(where=str(directory), problem=f"no layer names the tenant `{tenant}`")
    return [where / "tests.toml" for where in its]


def _read_table(path: Path) -> list[dict[str, Any]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyInvalid(where=str(path), problem=f"no table of tests: {error}") from None
    tests = table.get("test")
    if not isinstance(tests, list) or not tests or set(table) != {"test"}:
        raise PolicyInvalid(where=str(path), problem="a table of tests holds `[[test]]` entries and nothing else")
    for number, said in enumerate(tests, 1):
        lacking = {"name", "agent", "action", "expect"} - said.keys()
        if lacking or said.keys() - _MEMBERS:
            wrong = ", ".join(sorted(lacking | (said.keys() - _MEMBERS)))
            raise PolicyInvalid(where=str(path), problem=f"test {number}: missing or unknown `{wrong}`")
        if unknown := said.get("context", {}).keys() - CONTEXT.keys() - {"attributes"}:
            raise PolicyInvalid(where=str(path), problem=f"test {number}: no `context.{min(unknown)}`")
        if said["expect"] not in ("permit", "hold", "deny"):
            raise PolicyInvalid(where=str(path), problem=f"test {number}: `expect` is `permit`, `hold` or `deny`")
    return tests


def _test(policies: PolicySet, said: dict[str, Any], path: Path) -> PolicyTest:
    context = {**_DEFAULTS, **said.get("context", {})}
    context.setdefault("tainted", any(label.startswith("untrusted:") for label in context["labels"]))
    partition = policies.partition(said["action"])
    if WHOLE not in partition.reads:
        heads = {read.partition(".")[0].rstrip("?") for read in partition.reads}
        context = {name: value for name, value in context.items() if name in heads}
    if partition.clauses:
        context["clauses"] = dict.fromkeys(partition.clauses, "satisfied") | context["clauses"]
    request = Request(
        agent=said["agent"],
        action=said["action"],
        target=said.get("target", ""),
        context=context,
        groups=tuple(sorted(partition.groups & set(said.get("groups", ())))),
    )
    evaluation = partition.evaluate(request.to_json())
    return PolicyTest(name=said["name"], evaluation=evaluation, problems=tuple(_differences(said, evaluation, path)))


def _differences(said: dict[str, Any], evaluation: Evaluation, path: Path) -> list[str]:
    problems = []
    if evaluation.verdict != said["expect"]:
        because = f": {evaluation.error.message}" if evaluation.error else ""
        problems.append(f"expected `{said['expect']}`, got `{evaluation.verdict}`{because}")
    if "rules" in said and sorted(said["rules"]) != list(evaluation.rules):
        problems.append(f"expected rules {sorted(said['rules'])}, got {list(evaluation.rules)}")
    if "obligations" in said:
        try:
            wanted = {
                str(each) for text in said["obligations"] for each in parse_obligations(text, policy=said["name"])
            }
        except ObligationInvalid as error:
            raise PolicyInvalid(where=str(path), problem=error.message) from None
        got = {str(each) for each in evaluation.obligations}
        if wanted != got:
            problems.append(f"expected obligations {sorted(wanted)}, got {sorted(got)}")
    code = evaluation.error.code if evaluation.error else ""
    if "error" in said and said["error"] != code:
        problems.append(f"expected error `{said['error']}`, got `{code or 'none'}`")
    return problems
