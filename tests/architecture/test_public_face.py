"""What users may import is pinned, small and real; importing it is cheap."""

import importlib
import importlib.util
import subprocess
import sys

import pytest

import answerable
from tests.architecture.face import PIN, PUBLIC, names

# Each costs tens of milliseconds or more, and none is needed before an agent runs.
_HEAVY = (
    "alembic", "genai_prices", "httpx", "mcp", "rich", "sqlalchemy.orm", "starlette", "typer", "uvicorn",
)  # fmt: skip


def test_the_public_face_is_what_was_promised() -> None:
    assert PIN.read_text() == names(), "a promise changed: run `make regenerate` and write a changelog entry"


def test_the_face_has_forty_names_at_most() -> None:
    assert len(getattr(answerable, "__all__", ())) <= 40


@pytest.mark.parametrize("module", [name for name in PUBLIC if importlib.util.find_spec(name)])
def test_every_promised_name_is_there(module: str) -> None:
    face = importlib.import_module(module)

    missing = [name for name in face.__all__ if not hasattr(face, name)]

    assert missing == []


def test_importing_answerable_loads_no_heavy_library() -> None:
    code = f"import sys, answerable; print([name for name in {_HEAVY} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert loaded.stdout.strip() == "[]"
