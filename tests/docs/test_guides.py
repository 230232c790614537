"""The commands of the guides, run one after the other as a reader would, in a folder made ready for the page."""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Gate
from answerable.core import AnswerableError, RunId
from answerable.ledger import Reader as Record
from answerable.runtime import list_runs
from tests.architecture.files import ROOT, texts

pytestmark = pytest.mark.slow

_GUIDES = ROOT / "docs" / "guides"
_PROGRAMS = {"answerable": "answerable.cli", "answerable-verify": "answerable_verify"}
_PATIENCE_S = 20


def _starter(folder: Path) -> None:
    subprocess.run([folder / "bin" / "answerable", "init"], cwd=folder, check=True, capture_output=True, timeout=30)


def _app(folder: Path, module: str) -> Answerable:
    """The application in the folder, its places made absolute."""
    spec = importlib.util.spec_from_file_location(module, folder / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded  # its type hints are looked up there
    spec.loader.exec_module(loaded)
    app: Answerable = loaded.app
    app.data, app.policy = folder / app.data, folder / app.policy
    app.specs = folder / app.specs if app.specs else None
    return app


def _until(app: Answerable, inputs: list[Any], is_so: Callable[[Gate, list[RunId]], bool]) -> None:
    """Have a gate start runs, and end it when things are as wished."""

    async def main() -> None:
        async with asyncio.timeout(_PATIENCE_S), app.gate() as gate:
            runs = [await gate.start("clerk", each, on_behalf_of="person:dana") for each in inputs]
            while not is_so(gate, runs):  # noqa: ASYNC110 - what is awaited stands on the record, which has no event
                await asyncio.sleep(0.01)

    asyncio.run(main())


def _one_run(folder: Path) -> None:
    _starter(folder)
    _until(
        _app(folder, "agent"),
        [{"book": "b-7", "reader": "r-2"}],
        lambda gate, runs: gate.reader.receipts(run=runs[0])[-1].phase == "run.close",
    )


def _two_held(folder: Path) -> None:
    _starter(folder)
    asked = [{"book": "b-9", "reader": "r-2"}] * 2
    _until(_app(folder, "agent"), asked, lambda gate, runs: len(gate.approvals.list()) == len(runs))


def _two_doubts(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "outbox.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "outbox.cedar", folder / "policy" / "authorize")

    def are_in_doubt(gate: Gate, runs: list[RunId]) -> bool:
        return all(any(each.phase == "observation" for each in gate.reader.receipts(run=run)) for run in runs)

    _until(_app(folder, "outbox"), ["ann", "ben"], are_in_doubt)


def _tools(folder: Path) -> None:
    for name in ("tools.py", "served.py"):
        shutil.copy(_GUIDES / "code" / name, folder)
    shutil.copy(ROOT / "examples" / "support" / "shop.py", folder)


def _a_failed_trip(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "trip.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "trip.cedar", folder / "policy" / "authorize")
    app = _app(folder, "trip")

    async def main() -> None:
        async with asyncio.timeout(_PATIENCE_S), app.gate() as gate:
            run = await gate.start("planner", 9)
            with contextlib.suppress(AnswerableError):
                await gate.result(run)

    asyncio.run(main())


def _team(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "team.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "team.cedar", folder / "policy" / "authorize")


def _sorter(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "sorter.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "sorter.cedar", folder / "policy" / "authorize")


def _clinic(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "clinic.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "clinic.cedar", folder / "policy" / "authorize")


def _mill(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "mill.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "mill.cedar", folder / "policy" / "authorize")
    app = _app(folder, "mill")

    async def main() -> None:
        async with asyncio.timeout(_PATIENCE_S), app.gate() as gate:
            for sack in range(2):
                await gate.result(await gate.start("miller", sack))
            for sack in range(2, 5):
                await gate.start("miller", sack)

    asyncio.run(main())


def _post(folder: Path) -> None:
    for name in ("post.py", "post_next.py", "post_marked.py"):
        shutil.copy(_GUIDES / "code" / name, folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "post.cedar", folder / "policy" / "authorize")
    _until(
        _app(folder, "post"),
        ["a letter"],
        lambda gate, runs: gate.reader.receipts(run=runs[0])[-1].phase == "outcome",
    )


def _office(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "office.py", folder)
    (folder / "policy" / "authorize").mkdir(parents=True)
    shutil.copy(_GUIDES / "code" / "office.cedar", folder / "policy" / "authorize")


def _a_misled_assistant(folder: Path) -> None:
    for name, place in (
        ("mailer.py", "mailer.py"),
        ("mailer.labels.toml", "labels.toml"),
        ("mailer.cedar", "policy/authorize/mailer.cedar"),
        ("mailer.obligations.cedar", "policy/obligations/injection.cedar"),
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_GUIDES / "code" / name, folder / place)
    app = _app(folder, "mailer")
    app.labels = folder / "labels.toml"

    async def main() -> None:
        async with asyncio.timeout(_PATIENCE_S), app.gate() as gate:
            for request in ("Sum up my mail", "Sum up my mail again"):
                await gate.start("assistant", {"request": request})
            while len(gate.approvals.list()) < 2:  # noqa: ASYNC110 - what is awaited stands on the record
                await asyncio.sleep(0.01)

    asyncio.run(main())


def _desk(folder: Path) -> None:
    shutil.copy(_GUIDES / "code" / "desk.py", folder)


def _library_with_budgets(folder: Path) -> None:
    _starter(folder)
    page = (_GUIDES / "set-budgets.md").read_text()
    (shown,) = re.findall(r"```toml\n(\[\[budgets.*?)```", page, re.DOTALL)
    with (folder / "answerable.toml").open("a") as file:
        file.write("\n" + shown)


_READY: dict[str, Callable[[Path], None]] = {
    "README.md": lambda folder: None,
    "docs/guides/quickstart.md": lambda folder: None,
    "docs/guides/approve.md": _two_held,
    "docs/guides/resolve-a-doubt.md": _two_doubts,
    "docs/guides/control-a-run.md": _a_failed_trip,
    "docs/guides/several-agents.md": _team,
    "docs/guides/queues.md": _mill,
    "docs/guides/tenants.md": _office,
    "docs/guides/change-the-code.md": _post,
    "docs/guides/verify-evidence.md": _one_run,
    "docs/guides/watch-the-log.md": _one_run,
    "docs/guides/back-up-and-restore.md": _one_run,
    "docs/guides/erase-a-person.md": _clinic,
    "docs/guides/set-budgets.md": _library_with_budgets,
    "docs/guides/widen-autonomy.md": _starter,
    "docs/guides/keys.md": _one_run,
    "docs/guides/audit-packs.md": _one_run,
    "docs/guides/credentials.md": _one_run,
    "docs/guides/separate-users.md": _one_run,
    "docs/guides/write-policies.md": _starter,
    "docs/guides/contain-prompt-injection.md": _a_misled_assistant,
    "docs/guides/serve-from-a-file.md": lambda folder: None,
    "docs/guides/from-one-process-to-many-machines.md": lambda folder: None,
    "docs/guides/govern-a-tool.md": _tools,
    "docs/guides/connect-an-agent.md": _desk,
    "docs/guides/local-models.md": _sorter,
}


class Reader:
    """Somebody who follows a page in a folder, and puts in for RUN, STEP and APPROVAL what the last listing says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = f"{folder / 'bin'}:{os.environ['PATH']}"
        (folder / "bin").mkdir()
        for program, module in _PROGRAMS.items():
            shim = folder / "bin" / program
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            shim.chmod(0o755)

    def type(self, line: str) -> str:
        """What the line prints; it must end well."""
        for word, find in (("APPROVAL", self._approval), ("STEP", self._step), ("RUN", self._run)):
            if re.search(rf"\b{word}\b", line):
                line = re.sub(rf"\b{word}\b", find(), line)
        done = self._sh(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _sh(self, line: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": self._path, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
        return subprocess.run(
            ["bash", "-c", line], cwd=self._folder, env=environment, capture_output=True, text=True, timeout=50
        )

    def _json(self, line: str) -> Any:
        return json.loads(self._sh(f"{line} --json").stdout)

    def _run(self) -> str:
        """One that is in doubt, or else the newest."""
        with contextlib.closing(Record.open(self._folder / ".answerable" / "data")) as record:
            runs = [row.run for row in list_runs(record)]
            return next((run for run in runs if _is_doubtful(record, run)), runs[0])

    def _step(self) -> str:
        return str(self._json(f"answerable runs show {self._run()}")["doubts"][0]["step"])

    def _approval(self) -> str:
        return str(self._json("answerable approvals list")[0]["approval"])


def _is_doubtful(record: Record, run: RunId) -> bool:
    history = record.outline(run)
    is_open = history.closed is None
    return is_open and any(step not in history.finals for step in history.intents)


def _conversation(page: str) -> list[tuple[str, list[str]]]:
    """The page's commands, each with the lines it shows as their output."""
    said: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ make "):
                continue  # tests/integration/test_demo.py and test_demo_local.py follow these
            if line.startswith("$ "):
                said.append((line[2:], []))
            elif line.strip():
                said[-1][1].append(line)
    return said


def _fits(shown: str, printed: str) -> bool:
    """Whether the line on the page is the printed one, `…` and the width of columns left open."""
    pattern = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in shown.split("…"))
    return re.search(pattern, printed) is not None


def test_every_guide_that_shows_commands_is_followed() -> None:
    pages = {name for name, text in texts(".md").items() if name.startswith("docs/guides/") and _conversation(text)}

    assert pages | {"README.md"} == set(_READY)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", _READY, ids=lambda page: Path(page).stem)
def test_a_guide_followed_to_the_letter_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    _READY[page](tmp_path)

    for line, shown in _conversation((ROOT / page).read_text()):
        printed = reader.type(line).splitlines()

        for each in shown:  # in this order, others between them
            found = next((n for n, other in enumerate(printed) if _fits(each, other)), None)
            assert found is not None, f"$ {line}\nshows  {each!r}\nprints {printed}"
            printed = printed[found + 1 :]
