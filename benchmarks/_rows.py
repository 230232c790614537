"""Rows of the comparison: named figures, some with a bar they are held to."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["WORKERS", "Cell", "Row", "import_row", "row", "rows_of", "table"]

Cell = tuple[str, int]
"""An engine's name and how many runs it has at a time."""

OURS = ("road", "cached", "reads", "road_temporal", "road.pg")
PEERS = ("dbos", "langgraph", "temporal", "absurd")
WORKERS = ("road.pg.w1", "road.pg.w2", "road.pg.w4")
"""So many gates on one Postgres, with 100 runs between them."""
BARS: Mapping[str, tuple[str, float]] = {
    "road.c100.vs_dbos": ("≥", 4),
    "road.c100.vs_langgraph": ("≥", 3),
    "cached.c100.vs_dbos": ("≥", 7),
    "reads.c100.vs_dbos": ("≥", 10),
    "road.pg.c100.vs_dbos": ("≥", 4),
    "road.pg.c100.vs_best_peer": ("≥", 1),
    "road.c1.p50_vs_best_peer": ("≤", 1.0),
    "import.cpu_ms": ("<", 250),
    **{f"{load}.c{n}.p50_vs_direct": ("≤", 4) for load in ("mcp.read", "chat") for n in (1, 8, 64)},
    **{f"mcp.read.c{n}.vs_fastmcp_proxy": ("≥", 3) for n in (1, 8, 64)},
    "append.vs_bare_sign": ("≤", 2.5),
    "verify.vs_bare_verify": ("≤", 1.6),
    "verify.bytes_per_receipt": ("≤", 128),
    "bundle10k.vs_linear": ("≤", 1.25),
    "append.vs_agt": ("≥", 4),
    "append.vs_tracekit": (">", 1),
    **{f"chat.c{n}.vs_litellm": ("≥", 3) for n in (1, 8, 64)},
    "decide.p50_vs_bare_cedarpy": ("≤", 2),
    "decide.tenants1000_vs_100": ("≤", 1.1),
    "workspace.tasks_untouched_ratio": ("≥", 0.80),
    "banking.tasks_untouched_ratio": ("≥", 0.55),
    **{f"{suite}.attack_successes": ("≤", 0) for suite in ("workspace", "banking")},
    **{f"{suite}.most_approvals_a_task": ("≤", 1) for suite in ("workspace", "banking")},
    **{f"{suite}.tasks_completed_ratio": ("≥", 1) for suite in ("workspace", "banking")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: the median over the repeats.

    Args:
        unit: `steps/s`, `rows/s`, `ms`, `MiB`, or `×` for a ratio.
        spread: smallest and largest over the repeats.
        allowance: what the bar allows on top, as measured in the same run.
    """

    name: str
    value: float
    unit: str
    spread: tuple[float, float]
    allowance: float = 0.0

    @property
    def bar(self) -> str:
        """What it is held to, as `≥ 4`; empty where it is only reported."""
        sign, limit = BARS.get(self.name, ("", 0))
        return f"{sign} {round(limit + self.allowance, 2):g}" if sign else ""

    @property
    def holds(self) -> bool | None:
        if self.name not in BARS:
            return None
        sign, limit = BARS[self.name]
        limit += self.allowance
        return {"≥": self.value >= limit, "≤": self.value <= limit, "<": self.value < limit, ">": self.value > limit}[
            sign
        ]

    def to_json(self, versions: Mapping[str, str]) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "min": round(self.spread[0], 4),
            "max": round(self.spread[1], 4),
            "bar": self.bar or None,
            "holds": self.holds,
            "versions": dict(versions),
        }


def rows_of(repeats: Mapping[Cell, list[dict[str, Any]]]) -> list[Row]:
    """Every row that these cells allow; ratios are taken within a repeat, then their median.

    Pairing matters: on a shared machine one repeat as a whole may be twice as slow as the next.
    """
    rows: list[Row] = []
    for concurrency in sorted({concurrency for _, concurrency in repeats}):
        at = f"c{concurrency}"
        cells = {engine: seen for (engine, n), seen in repeats.items() if n == concurrency}
        workers = {engine: cells.pop(engine) for engine in WORKERS if engine in cells}
        rows += [
            row(f"{name}.steps_s", "steps/s", (cell["steps_s"] for cell in seen)) for name, seen in workers.items()
        ]
        for engine, seen in cells.items():
            unit = "rows" if engine == "raw" else "steps"
            rows.append(row(f"{engine}.{at}.{unit}_s", f"{unit}/s", (cell["steps_s"] for cell in seen)))
            rows.append(row(f"{engine}.{at}.p50_ms", "ms", (cell["p50_ms"] for cell in seen)))
            rows.append(row(f"{engine}.{at}.p99_ms", "ms", (cell["p99_ms"] for cell in seen)))
            rows.append(row(f"{engine}.{at}.peak_mib", "MiB", (cell["peak_mib"] for cell in seen)))
        for engine in [engine for engine in OURS if engine in cells]:
            seen, store = cells[engine], engine.partition(".")[2]  # like is compared with like: the same store
            against = {peer: cells[name] for peer in PEERS if (name := f"{peer}.{store}".rstrip(".")) in cells}
            peers = list(against.values())
            for peer, theirs in against.items():
                paired = zip(seen, theirs, strict=True)
                rows.append(row(f"{engine}.{at}.vs_{peer}", "×", (a["steps_s"] / b["steps_s"] for a, b in paired)))
            if store and peers:
                beside = zip(seen, *peers, strict=True)
                best = (own["steps_s"] / max(peer["steps_s"] for peer in others) for own, *others in beside)
                rows.append(row(f"{engine}.{at}.vs_best_peer", "×", best))
            # A peer that lets the other runs wait outside answers a step at once: only alone is it a fair question.
            for percentile in ("p50", "p99") if peers and concurrency == 1 else ():
                key = f"{percentile}_ms"
                paired_peers = zip(seen, *peers, strict=True)
                ratios = (own[key] / min(peer[key] for peer in others) for own, *others in paired_peers)
                rows.append(row(f"{engine}.{at}.{percentile}_vs_best_peer", "×", ratios))
    return rows


def import_row(cpu_ms: list[float]) -> Row:
    """What `import answerable` costs a fresh interpreter, the interpreter's own start included."""
    return row("import.cpu_ms", "ms", cpu_ms)


def row(name: str, unit: str, values: Iterable[float], *, allowances: Iterable[float] = (0.0,)) -> Row:
    """A figure that was measured in each repeat."""
    seen = list(values)
    spread = min(seen), max(seen)
    return Row(
        name=name, value=statistics.median(seen), unit=unit, spread=spread, allowance=statistics.median(allowances)
    )


def table(rows: list[Row]) -> str:
    """The rows for a person, one a line."""
    said = [("row", "median", "unit", "min … max", "bar", "")]
    for each in rows:
        verdict = {None: "", True: "holds", False: "MISSED"}[each.holds]
        spread = f"{_figure(each.spread[0])} … {_figure(each.spread[1])}"
        said.append((each.name, _figure(each.value), each.unit, spread, each.bar, verdict))
    widths = [max(len(line[column]) for line in said) for column in range(6)]
    return "\n".join(
        "  ".join(text.rjust(width) if column == 1 else text.ljust(width) for column, (text, width) in pairs).rstrip()
        for pairs in (list(enumerate(zip(line, widths, strict=True))) for line in said)
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
