# `make demo` runs the whole recipe on this machine, `make test` proves that everything works.
# Both set up .venv first; a set-up that is done is not done again. `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup lock generate lint check programs test mutants release-test demo clean cluster cluster-down \
	e2e faults

PYTHON ?= python3
ACCELERATOR ?= cpu
STORE ?= demo-store
SEED ?= 0
VIDEOS ?=
DEMO_FLAGS ?=
export VIDEOS STORE
# Threads that wait must not spin: tests start several engines on few cores.
export OMP_WAIT_POLICY := PASSIVE

UV_VERSION := 0.13.9
UV := .venv/bin/uv
ASSAY := .venv/bin/assay
RECIPE := manifests/recipes/busterx-plusplus
LOCK := constraints/$(ACCELERATOR).txt

quoted = '$(subst ','\'',$(1))'

ifeq ($(wildcard $(LOCK)),)
$(error ACCELERATOR=$(ACCELERATOR): must be cpu or gpu)
endif
ifneq ($(VIDEOS),)
MISSING := $(shell for class in real fake; do test -d $(call quoted,$(VIDEOS))/$$class || echo $$class/; done)
ifneq ($(MISSING),)
$(error VIDEOS=$(VIDEOS): no $(MISSING) in it; name a folder that holds real/ and fake/ with videos)
endif
endif

help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## /make \1\t/' | expand -t 14

# ---------------------------------------------------------------------------------- set-up

# What an environment depends on: this folder, the Python, the packages, the project's metadata.
IDENTITY := $(shell (pwd; $(PYTHON) -V || true; cat $(LOCK) pyproject.toml) 2>&1 | sha256sum | cut -c 1-16)
STAMP := .venv/assay-$(ACCELERATOR)-$(IDENTITY)

setup: $(STAMP) ## Make .venv; ACCELERATOR=gpu: with vLLM's GPU build.

# Always from nothing, so that an interrupted set-up leaves no trace: uv's cache makes it quick.
# Compiled at once: the demo starts a dozen processes, and not every machine keeps what they compile.
$(STAMP):
	@echo "set-up: packages of $(LOCK) into .venv (the first time: a few GB, some minutes)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	  echo "$(PYTHON) is missing or older than 3.11: install Python 3.11 or newer, or name one:" \
	    "make setup PYTHON=python3.12" >&2
	  exit 1
	}
	# Its own Python, where .venv is what a shell has activated: .venv goes first.
	python=$$($(PYTHON) -c 'import sys; print(sys._base_executable)')
	rm -rf .venv
	"$$python" -m venv .venv || {
	  echo "$(PYTHON) can't make virtual environments: install its venv module" \
	    "(Debian: python3-venv), or name another: make setup PYTHON=python3.12" >&2
	  exit 1
	}
	pip=".venv/bin/python -m pip --disable-pip-version-check"
	$$pip install --quiet uv==$(UV_VERSION)
	# A mirror or certificate that pip is told of holds for uv too.
	index=$${PIP_INDEX_URL:-$$($$pip config get global.index-url 2>/dev/null || true)}
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi
	if [ -n "$${PIP_CERT:-}" ]; then export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; fi
	export UV_HTTP_TIMEOUT=$${UV_HTTP_TIMEOUT:-300}
	export VIRTUAL_ENV="$(CURDIR)/.venv"
	quiet=; test -t 2 || quiet=--quiet
	$(UV) pip install $$quiet --no-deps --compile-bytecode -r $(LOCK)
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
	echo "set-up: done"

# A list for Python 3.12 holds on 3.11 too: it has one package more, for what 3.12 left out.
COMPILE = $(UV) pip compile pyproject.toml --quiet --python-version 3.12 --extra operator --extra trainer --extra dev \
	--constraint constraints/pins.txt --override constraints/overrides.txt \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: setup ## Resolve constraints/*.txt from pyproject.toml and constraints/pins.txt; versions that fit stay.
	@echo "lock: resolving for CPU, then for GPU with the same versions"
	$(COMPILE) --extra cpu --output-file constraints/cpu.txt
	$(COMPILE) --extra gpu --constraint constraints/cpu.txt --output-file constraints/gpu.txt

# What is made from the typed models and committed: a test of `make check` tells when it is stale.
CRD_FOLDERS := manifests/crds charts/assay/files/crds

generate: setup ## Write the CRDs, and the schema of the chart's values, from the typed models.
	@for folder in $(CRD_FOLDERS); do $(ASSAY) crds --out $$folder; done
	.venv/bin/python tests/chart/values_schema.py

# ----------------------------------------------------------------------------------- tests

lint: setup ## Format, style, types, import directions.
	@echo "lint: format and style"
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	echo "lint: types"
	.venv/bin/mypy --no-error-summary
	echo "lint: import directions"
	report=$$(.venv/bin/lint-imports --no-logo) || { echo "$$report"; exit 1; }

check: lint ## The above, and layout, constraints, manifests, documents: under two minutes.
	@echo "check: layout, constraints, manifests, documents"
	.venv/bin/python -m pytest tests/repository --quiet

# Half of the time a test waits. The order is that of tests/conftest.py: what takes longest comes first.
WORKERS ?= 2
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

programs: setup ## Build what tests run against and no package brings (Go): once, into a cache.
	@.venv/bin/python tests/servers/go_programs.py

test: lint programs ## Everything that check does, and every test but those of release-test.
	@echo "test: every test, against the real components"
	.venv/bin/python -m pytest $(SIDE_BY_SIDE) --durations=15

mutants: setup ## Write each stated mutant into a copy of the sources, and see that the tests of its area notice it.
	@echo "mutants: each must make a test fail"
	.venv/bin/python tests/mutation/kill_mutants.py $(AREAS)

release-test: programs mutants ## Tests that only a release needs: images, faults in pods, the whole recipe: 2 hours. As root.
	@echo "release-test: the tests that make test leaves out"
	.venv/bin/python -m pytest -m release --durations=15
	echo "release-test: the recipe with all its steps, on the images of the Dockerfile"
	ASSAY_E2E=whole ASSAY_E2E_IMAGES=built .venv/bin/python -m pytest tests/cluster/test_recipe_in_pods.py

# --------------------------------------------------------------------------------- cluster

cluster: programs ## A one-node Kubernetes with Assay on this machine, to play with. As root.
	@.venv/bin/python tests/cluster/cluster_command.py up

cluster-down: setup ## End it, and remove all that it has left.
	@.venv/bin/python tests/cluster/cluster_command.py down

e2e: programs ## The recipe with all its steps in real pods, on such a cluster. As root.
	@echo "e2e: one node, the chart, the recipe with all its steps"
	ASSAY_E2E=whole .venv/bin/python -m pytest tests/cluster/test_recipe_in_pods.py --durations=0

faults: programs ## Every fault in real pods, on such a cluster: half an hour. As root.
	@echo "faults: one node, the chart, what may happen to a stage that runs"
	.venv/bin/python -m pytest tests/cluster -m release --durations=0

# ------------------------------------------------------------------------------------ demo

STAGES := base foundation judge-training fusion advanced
# With VIDEOS, these use the dataset own-videos; base model and judge stay with the synthetic one.
USERS_OF_VIDEOS := TrainingStage/foundation TrainingStage/fusion TrainingStage/advanced Evaluation/held-out

demo: setup ## The whole recipe on a tiny model. VIDEOS=DIR SEED=0 STORE=demo-store DEMO_FLAGS=...
	@store=$$(realpath -m -- "$$STORE")
	arguments=(-f $(RECIPE)/tiny --store "$$store")
	for stage in $(STAGES); do arguments+=(--set "TrainingStage/$$stage.spec.seed=$(SEED)"); done
	if [ -n "$$VIDEOS" ]; then
	  videos=$$(realpath -- "$$VIDEOS")
	  # Within YAML's single quotes, a path may hold anything.
	  uri="'$${videos//\'/\'\'}'"
	  arguments+=(-f $(RECIPE)/own-videos --set "Dataset/own-videos.spec.source.folder.uri=$$uri")
	  for user in $(USERS_OF_VIDEOS); do arguments+=(--set "$$user.spec.dataset=own-videos"); done
	fi
	first() { find "$$1" -type f ! -name '.*' | sort | sed -n 1p; }
	verdicts() {
	  echo "demo: the trained detector on a fake and a real video out of $$1"
	  $(ASSAY) detect "$$(first "$$1/fake")" "$$(first "$$1/real")" \
	    --model "$$store/stages/advanced/model" --max-tokens 64
	}
	echo "demo: videos, base model, foundation RL, judge, fusion, advanced RL, evaluation"
	echo "demo: everything goes to $$store; if it is interrupted, the same command goes on"
	$(ASSAY) run "$${arguments[@]}" $(DEMO_FLAGS)
	fresh="$$store-fresh"
	rm -rf -- "$$fresh"
	$(ASSAY) data render "$$fresh" --videos 8 --width-pixels 56 --seed $$(($(SEED) + 1000))
	verdicts "$$fresh"
	if [ -n "$$VIDEOS" ]; then verdicts "$$videos"; fi
	echo "demo: the report, one page with curves, samples and evaluation"
	$(ASSAY) report "$$store" --out "$$store/report.html"

clean: ## Remove what was made here: .venv, caches, the demo's store.
	@echo "clean: .venv, caches, demo-store"
	rm -rf .venv demo-store demo-store-fresh dist .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
