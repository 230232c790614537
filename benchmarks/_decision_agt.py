"""The Agent Governance Toolkit's own evaluator over as many rules, in an environment of its own.

    python _decision_agt.py ROUNDS PACKS

Its rules compare one field each and the first match decides: no facts, no groups, no obligations, no record. So
this says what its decision costs, not that it decides the same.
"""

import json
import statistics
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

from agent_os.policies import (
    PolicyAction,
    PolicyCondition,
    PolicyDefaults,
    PolicyDocument,
    PolicyEvaluator,
    PolicyOperator,
    PolicyRule,
)


def main() -> None:
    rounds, packs = int(sys.argv[1]), Path(sys.argv[2])
    documents, asked = [], []
    for pack in sorted(packs.iterdir()):
        tests = tomllib.loads((pack / "policy" / "tests.toml").read_text())["test"]
        asked += [{"action": said["action"], **said.get("context", {})} for said in tests]
        permitted = {said["action"] for said in tests if said["expect"] != "deny"}
        rules = [_rule(name, "action", PolicyOperator.EQ, name, PolicyAction.ALLOW, 1) for name in sorted(permitted)]
        for field, most in (("amount_minor", 2_500_000), ("prior_on_target", 0), ("count_today", 29), ("hour", 17)):
            rules.append(_rule(f"{pack.name}-{field}", field, PolicyOperator.GT, most, PolicyAction.DENY, 10))
        defaults = PolicyDefaults(action=PolicyAction.DENY)
        documents.append(PolicyDocument(name=pack.name, rules=rules, defaults=defaults))
    evaluator = PolicyEvaluator(documents)
    spent = []
    for _ in range(rounds):
        for each in asked:
            began = time.perf_counter_ns()
            evaluator.evaluate(each)
            spent.append(time.perf_counter_ns() - began)
    said = {"p50_us": statistics.median(spent) / 1e3, "version": version("agent-os-kernel")}
    sys.stdout.write(json.dumps(said) + "\n")


def _rule(
    name: str, field: str, operator: PolicyOperator, value: object, action: PolicyAction, priority: int
) -> PolicyRule:
    condition = PolicyCondition(field=field, operator=operator, value=value)
    return PolicyRule(name=name, condition=condition, action=action, priority=priority)


main()
