"""What a decision costs: all packs at once, beside bare `cedarpy`, over many tenants, and beside a peer.

    python benchmarks/decision.py [--quick] [--json PATH] [--without-agt]

The requests are those of the packs' own tables of tests, as actions. Ours is `CedarAuthorizer.authorize`: the context
from the action, facts from a real store, the request as it goes on the record, Cedar, obligations. Bare is one
`cedarpy.is_authorized` of the same request, facts already in it, over all the packs' policies and the entities, parsed
beforehand; `bare_part` has only the policies that can apply to the action, as ours picks them. Measured in turns in one
process; ratios are taken within a repeat. Ends with 1 if a bar is missed.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parent)]

import cedarpy  # noqa: E402 - run as a script
import orjson  # noqa: E402

from answerable.app import all_projections  # noqa: E402
from answerable.core import (  # noqa: E402
    Action,
    AgentId,
    Description,
    Effect,
    Money,
    RunId,
    StepKey,
    TenantId,
)
from answerable.ledger import Ledger  # noqa: E402
from answerable.policy import CedarAuthorizer, DecisionCache, PolicySet  # noqa: E402
from benchmarks._rows import Row, row, table  # noqa: E402

PACKS = HERE.parent / "src" / "answerable" / "cli" / "_packs"
AGT = HERE.parent / ".venv" / "agt" / "bin" / "python"
NARROW = '@id("{0}-small") forbid (principal, action == Action::"bank.pay", resource)\n'
NARROW += "when {{ context has amount_minor && context.amount_minor > 900000 }};\n"


def main() -> int:
    """Measure, print, write; 0 if every bar holds."""
    asked = _arguments()
    rounds = 40 if asked.quick else 200
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=asked.dir))
    try:
        rows = asyncio.run(_measure(directory, rounds, asked.repeats))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    versions = {"python": platform.python_version(), "cedarpy": version("cedarpy"), "cpus": str(os.cpu_count())}
    if not asked.without_agt:
        peer = _agt(rounds)
        if peer is None:
            _say("the peer is left out: `.ci/setup agt` installs it")
        else:
            versions["agent-os-kernel"] = peer["version"]
            ours = next(each for each in rows if each.name == "decide.p50_us")
            rows.append(row("agt.p50_us", "µs", [peer["p50_us"]]))
            rows.append(row("decide.vs_agt", "×", [ours.value / peer["p50_us"]]))
    sys.stdout.write(table(rows) + "\n\n" + ", ".join(f"{name} {said}" for name, said in versions.items()) + "\n")
    if asked.json:
        asked.json.write_text(
            json.dumps([each.to_json(versions) for each in rows], indent=1, ensure_ascii=False) + "\n"
        )
    missed = [each for each in rows if each.holds is False]
    for each in missed:
        _say(f"missed: {each.name} is {each.value:.2f} {each.unit}, the bar is {each.bar}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Decisions: ours beside bare Cedar and a peer, over full packs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="where the store of facts stands")
    parser.add_argument("--without-agt", action="store_true", help="ours and Cedar only")
    return parser.parse_args()


async def _measure(directory: Path, rounds: int, repeats: int) -> list[Row]:
    policy = _all_packs(directory / "policy", tenants=1000)
    sets = PolicySet.load_all(policy)
    actions, groups = _actions()
    ledger = Ledger.open(directory / "data", projections=all_projections())
    await ledger.start()
    try:
        seen: dict[str, list[float]] = {}
        for repeat in range(repeats):
            _say(f"repeat {repeat + 1}/{repeats}")
            for name, value in (await _repeat(sets, actions, groups, ledger.reader.rows, rounds)).items():
                seen.setdefault(name, []).append(value)
    finally:
        await ledger.close()
    units = {"us": "µs"}
    return [row(name, units.get(name.rpartition("_")[2], "×"), values) for name, values in seen.items()]


async def _repeat(
    sets: dict[str, PolicySet], actions: list[Action], groups: Any, rows: Any, rounds: int
) -> dict[str, float]:
    plain = CedarAuthorizer(sets["default"], rows, groups=groups)
    cached = CedarAuthorizer(sets["default"], rows, groups=groups, cache=DecisionCache())
    decided = [await plain.authorize(action) for action in actions]
    if any(each.error is not None and each.error.code == "refused.policy_failed" for each in decided):
        raise SystemExit("a decision failed: there is nothing to compare")
    parts = [_bare(sets["default"], each.request, whole=False) for each in decided]
    whole = [_bare(sets["default"], each.request, whole=True) for each in decided]
    times: dict[str, list[int]] = {"ours": [], "cached": [], "part": [], "whole": []}
    for _ in range(rounds):
        for n, action in enumerate(actions):
            times["part"].append(_timed(parts[n]))
            times["ours"].append(await _decided(plain, action))
            times["whole"].append(_timed(whole[n]))
            times["cached"].append(await _decided(cached, action))
    p50 = {name: statistics.median(spent) / 1e3 for name, spent in times.items()}
    ratios = [
        statistics.median(times["ours"][n :: len(actions)]) / statistics.median(times["whole"][n :: len(actions)])
        for n in range(len(actions))
    ]
    tenants = await _tenants(sets, actions, groups, rows, rounds)
    return {
        "decide.p50_us": p50["ours"],
        "bare.p50_us": p50["whole"],
        "bare_part.p50_us": p50["part"],
        "decide.p50_vs_bare_cedarpy": p50["ours"] / p50["whole"],
        "decide.p50_vs_bare_part": p50["ours"] / p50["part"],
        "decide.worst_action_vs_bare": max(ratios),
        "decide.cached_vs_uncached": p50["cached"] / p50["ours"],
        "decide.tenants1000_vs_100": tenants,
    }


async def _tenants(sets: dict[str, PolicySet], actions: list[Action], groups: Any, rows: Any, rounds: int) -> float:
    """Decisions for many tenants, each with policies of its own, in turns with decisions for few."""
    chance = random.Random(7)
    names = sorted(sets.keys() - {"default"})
    authorizers, asked = [], []
    for size in (100, 1000):
        authorizer = CedarAuthorizer(sets["default"], rows, groups=groups)
        for name in names[:size]:
            authorizer.use(sets[name], tenant=TenantId(name))
        order = [(chance.choice(names[:size]), chance.choice(actions)) for _ in range(rounds * len(actions))]
        mine = [_of_tenant(action, name) for name, action in order]
        for each in {(each.tenant, each.name): each for each in mine}.values():
            await authorizer.authorize(each)  # as after a while of service: parsed
        authorizers.append(authorizer)
        asked.append(mine)
    spent: tuple[list[int], list[int]] = ([], [])
    for few, many in zip(*asked, strict=True):
        spent[0].append(await _decided(authorizers[0], few))
        spent[1].append(await _decided(authorizers[1], many))
    return statistics.median(spent[1]) / statistics.median(spent[0])


def _all_packs(folder: Path, *, tenants: int) -> Path:
    for pack in PACKS.iterdir():
        for part in ("authorize", "obligations"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for file in (pack / "policy" / part).glob("*.cedar"):
                shutil.copy(file, folder / part / f"{pack.name}-{file.name}")
    declared = []
    for n in range(tenants):
        name = f"tenant-{n:04}"
        (folder / "layers" / name).mkdir(parents=True)
        (folder / "layers" / name / "authorize.cedar").write_text(NARROW.format(name))
        declared.append(f'[{name}]\nmay = "narrow"\ntenants = ["{name}"]\n')
    (folder / "layers.toml").write_text("".join(declared))
    return folder


def _actions() -> tuple[list[Action], dict[str, tuple[str, ...]]]:
    """What the packs' tables ask, as actions, and the groups of the agents that ask."""
    actions, groups = [], {}
    for pack in sorted(PACKS.iterdir()):
        for said in tomllib.loads((pack / "policy" / "tests.toml").read_text())["test"]:
            agent = f"{said['agent']}-{'-'.join(said.get('groups', []))}"
            groups[agent] = tuple(said.get("groups", ()))
            actions.append(_action(said, agent, len(actions)))
    return actions, groups


def _action(said: dict[str, Any], agent: str, number: int) -> Action:
    context = said.get("context", {})
    kind, colon, name = said["action"].partition(":")
    target = said.get("target", "")
    amount = Money(context["amount_minor"], context["currency"]) if "amount_minor" in context else None
    return Action(
        tenant=TenantId("default"),
        run=RunId("run_bench"),
        agent=AgentId(agent),
        step=StepKey(f"{number:032x}"),
        branch="",
        kind="model" if colon else "tool",
        name=name if colon else kind,
        arguments=b"{}",
        described=Description(effect=Effect(context.get("effect", "irreversible")), target=target, amount=amount),
        environment="production",
        on_behalf_of="person:ana",
        resources=(target,) if context.get("target_named", True) else (),
        labels=tuple(context.get("labels", ())),
    )


def _of_tenant(action: Action, tenant: str) -> Action:
    return Action(**{name: getattr(action, name) for name in action.__slots__} | {"tenant": TenantId(tenant)})


def _bare(policies: PolicySet, request: bytes, *, whole: bool) -> Callable[[], object]:
    """One call to Cedar with all it needs at hand, parsed as far as it lets itself be parsed."""
    parts = orjson.loads(request)
    action = parts["action"]["id"]
    partition = policies.whole(action) if whole else policies.partition(action)
    member = [{"type": "Group", "id": group} for group in parts["principal"].pop("groups", ())]
    principal = {"uid": parts["principal"], "attrs": {}, "parents": member}
    held = partition.entities.with_added_json_str(orjson.dumps([principal]).decode())
    parts["context"] = orjson.dumps(parts["context"]).decode()
    return lambda: cedarpy.is_authorized(parts, partition.handle, held)


def _timed(call: Callable[[], object]) -> int:
    began = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - began


async def _decided(authorizer: CedarAuthorizer, action: Action) -> int:
    began = time.perf_counter_ns()
    await authorizer.authorize(action)
    return time.perf_counter_ns() - began


def _agt(rounds: int) -> dict[str, Any] | None:
    """The peer, in an environment of its own."""
    if not AGT.exists():
        return None
    command = [str(AGT), str(HERE / "_decision_agt.py"), str(rounds), str(PACKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"the peer ended with {done.returncode}:\n{done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _say(line: str) -> None:
    """Progress, away from the table."""
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
