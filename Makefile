# Everything a developer or CI runs. Bare `make` lists the targets.
# Set CLUSTER=current to use the cluster of your KUBECONFIG instead of the one that devcluster/ brings up.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Many container images have this set. Each process would then compile all that it imports of torch anew, which takes
# ten seconds of a core, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

export CLUSTER ?= dev
export DINO_DEVCLUSTER_HOME ?= $(HOME)/.cache/dino-devcluster
DATA ?=
TO ?=
URL ?=
EPISODES ?= 10000
DEPTH ?= 8
PLANS ?= all
WALKS ?= 50
OPERATIONS ?= all
EXAMPLES ?= 10000
MINUTES ?= 30
# What `make audit` runs, in versions as fixed as those of uv.lock.
PIP_AUDIT := pip-audit==2.10.1
ZIZMOR := zizmor==1.32.0

# uv comes from the machine if it is 0.9 or newer, or else from PyPI into a folder of its own: by the pip that is there, which
# takes half as long as to make another.
UV_HOME := $(DINO_DEVCLUSTER_HOME)/uv
UV := $(or $(shell v=$$(uv --version 2>/dev/null | cut -d' ' -f2); printf '0.9\n%s\n' "$$v" | sort -VC && command -v uv),$(UV_HOME)/bin/uv)
RUN := $(UV) run --frozen --all-extras
PYTEST := $(RUN) pytest
# Two processes, each with whole files of tests, in their order.
BESIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9_-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV_HOME)/bin/uv:
	@echo "There is no uv 0.9 or newer in PATH: it comes from PyPI into $(UV_HOME)"
	@python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$(UV_HOME)" "uv>=0.9" 2>/dev/null || { \
	python3 -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "error: that needs Python 3 with venv: apt-get install python3-venv (or install uv: https://docs.astral.sh/uv)" >&2; exit 1; }; \
	python3 -m venv "$(UV_HOME)"; \
	"$(UV_HOME)/bin/pip" install --quiet --disable-pip-version-check "uv>=0.9"; }

.PHONY: setup
setup: $(UV) ## Install the locked Python dependencies into .venv
	@$(UV) sync --frozen --all-extras --quiet

.PHONY: generate
generate: setup ## Regenerate crds/, schemas/, docs/rules.md, docs/reference/, docs/quickstart.md (of README) and the chart's CRD template, the chart's version (pyproject.toml has it) and README
	$(RUN) python -m dino_api.generate
	$(RUN) python -m charts.generate

.PHONY: lint
lint: setup ## ruff, mypy --strict, import arrows, generated files up to date
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python -m dino_api.generate --check
	$(RUN) python -m charts.generate --check

.PHONY: docs
docs: setup ## The docs as a site in build/site; a dead link ends it
	$(RUN) mkdocs build

.PHONY: format
format: setup ## Let ruff format and fix what it can
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: test
test: machine test-fast test-e2e ## Lint and every test: unit, model, API server, cluster

# The API tests and the cluster's life mostly wait: beside the others they cost next to nothing. Lint has one core.
.PHONY: test-fast
test-fast: setup ## test-unit, with lint, test-api, and test-model, test-cluster beside it; their output comes when all have ended
	@logs=$$(mktemp -d); status=0; \
	$(MAKE) --no-print-directory lint >"$$logs/lint" 2>&1 & lint=$$!; \
	$(MAKE) --no-print-directory test-api >"$$logs/api" 2>&1 & api=$$!; \
	$(MAKE) --no-print-directory --keep-going test-model test-cluster >"$$logs/model" 2>&1 & model=$$!; \
	$(MAKE) --no-print-directory test-unit || status=$$?; \
	for each in $$lint $$model $$api; do wait $$each || status=$$?; done; \
	cat "$$logs/lint" "$$logs/model" "$$logs/api"; rm -rf "$$logs"; exit $$status

# One thread: the models of these tests are so small that a second one only costs.
.PHONY: test-unit
test-unit: setup ## Unit tests; no cluster needed
	OMP_NUM_THREADS=1 $(PYTEST) tests/unit tests/proof tests/fuzz tests/chart tests/devcluster -m "not cluster" $(BESIDE)

.PHONY: test-model
test-model: setup ## The detector against the published model's numbers
	OMP_NUM_THREADS=1 $(PYTEST) tests/model
	$(RUN) python -m tests.model.golden

.PHONY: test-api
test-api: setup ## Admission and the operator against a real API server, without kubelet
	@log="$${DINO_TEST_AUDIT_LOG:-$(DINO_DEVCLUSTER_HOME)/api/logs/audit.log}"; status=0; \
	since=$$(stat --format=%s "$$log" 2>/dev/null || echo 0); \
	$(PYTEST) tests/api -m "not alone" $(BESIDE) && export DINO_TEST_AUDIT_SINCE=$$since || status=$$?; \
	$(PYTEST) tests/api -m alone || status=$$?; \
	exit $$status

.PHONY: record
record: setup ## Write the terminal runs of docs/kubectl-dino.md anew, as they are said now
	DINO_RECORD=1 $(PYTEST) tests/api/test_docs_kubectl_runs.py

.PHONY: record-tutorial
record-tutorial: setup ## Run docs/tutorial.md on the dev cluster, and write anew what it shows
	DINO_RECORD=1 $(PYTEST) tests/e2e/test_tutorial.py

.PHONY: test-cluster
test-cluster: setup ## The dev cluster's own life: up, killed, up again, down without a trace
	$(PYTEST) tests/devcluster -m cluster

# Most of these tests wait for pods: two processes keep two cores busy. Those that take the store, the operator or
# the node away come after them, one by one.
.PHONY: test-e2e
test-e2e: setup ## Real trainings and failures on the cluster (brings it up, builds the images)
	@status=0; \
	$(PYTEST) tests/e2e tests/reliability -m "not alone" $(BESIDE) || status=$$?; \
	$(PYTEST) tests/e2e tests/reliability -m alone || status=$$?; \
	exit $$status

# Each machine's episodes in parts of different seeds, so that every core has some. docs/reliability.md says more.
.PHONY: proof
proof: setup ## The operator against an adversary: EPISODES=10000, orders DEPTH=8 deep, PLANS=all spoiled moments, every mutant, every operation, a naive operator beside it
	DINO_MODEL_EPISODES=$(EPISODES) DINO_MODEL_PARTS=16 DINO_MODEL_DEPTH=$(DEPTH) OMP_NUM_THREADS=1 \
	  $(PYTEST) -rP -n auto tests/unit/test_plan_model.py tests/unit/test_namespace_model.py \
	  tests/unit/test_search_plan_model.py tests/unit/test_exhaustive_model.py \
	  tests/unit/test_concurrent_model.py
	DINO_FAULT_PLANS=$(PLANS) $(PYTEST) -rP tests/api/test_faults.py
	$(RUN) python -m tests.proof.mutants
	$(RUN) python -m tests.proof.naive $(filter-out all,$(PLANS))
	$(MAKE) --no-print-directory proof-operations

.PHONY: proof-operations
proof-operations: setup ## Every operation (OPERATIONS=all) on the CRDs' properties and WALKS=50 walks of edits, in memory and before the API server
	DINO_OPERATIONS=$(OPERATIONS) DINO_WALKS=$(WALKS) $(PYTEST) -rP tests/proof/test_operations.py
	DINO_OPERATIONS=$(OPERATIONS) DINO_WALKS=$(WALKS) $(PYTEST) -rP tests/api/test_operations.py

.PHONY: chaos
chaos: setup ## SIGKILL at random on the dev cluster under trainings and a search, MINUTES=30 of it: all must end, once, from their checkpoints
	$(RUN) python -m tests.proof.chaos --minutes $(MINUTES)

# One process for each core: each test runs its examples by itself.
.PHONY: fuzz
fuzz: setup ## Spoiled input for every reader of what others wrote: EXAMPLES=10000 of each test, in bounded memory; failures come to build/fuzz
	DINO_FUZZ_EXAMPLES=$(EXAMPLES) OMP_NUM_THREADS=1 $(PYTEST) -n auto --dist worksteal tests/fuzz

# It asks for advisories, which are newer than a lock file; of the network it needs PyPI alone.
.PHONY: audit
audit: $(UV) ## Known vulnerabilities of the locked packages (pip-audit), and faults of the workflows (zizmor)
	@mkdir -p build
	@$(UV) export --quiet --frozen --all-extras --no-emit-project --output-file build/requirements.txt >/dev/null
	$(UV) tool run $(PIP_AUDIT) --requirement build/requirements.txt --require-hashes --disable-pip --strict
	$(UV) tool run $(ZIZMOR) --offline .github/workflows

.PHONY: cluster-up
cluster-up: ## Bring up the one-node development cluster with S3 (Debian, root)
	devcluster/cluster up
	[ "$(CLUSTER)" = current ] || devcluster/cluster s3

.PHONY: cluster-down
cluster-down: ## Stop it and leave no process, mount, interface or iptables rule
	devcluster/cluster down

.PHONY: images
images: setup ## Build the operator's and the trainer's image and load them into the cluster
	$(RUN) python -m demo.images

# Of Python's packages, with their hashes; what the base image brings is the base image's to say.
.PHONY: sbom
sbom: setup ## What each image is made of, from uv.lock, in CycloneDX: build/sbom/*.cdx.json
	@mkdir -p build/sbom
	@for part in operator trainer trainer-cpu; do \
	case $$part in \
	operator) packages="--frozen --no-emit-project --no-default-groups --extra operator" ;; \
	trainer) packages=$$(sh trainer_image/packages.sh gpu) ;; \
	trainer-cpu) packages=$$(sh trainer_image/packages.sh cpu) ;; \
	esac; \
	$(UV) export --quiet $$packages \
	  --preview-features sbom-export --format cyclonedx1.5 --output-file build/sbom/dino-$$part.cdx.json >/dev/null; \
	echo "build/sbom/dino-$$part.cdx.json"; done

.PHONY: krew
krew: setup ## kubectl dino for Krew: archive and manifest in build/krew. URL=https://github.com/OWNER/REPOSITORY
	@[ -n "$(URL)" ] || { echo "error: say where releases lie: make krew URL=https://github.com/OWNER/REPOSITORY" >&2; exit 1; }
	@PATH="$(dir $(UV)):$$PATH" $(RUN) python operator/krew/pack.py "$(URL)"

.PHONY: machine
machine: ## Whether this machine can carry the development cluster, before anything is fetched
	@[ "$(CLUSTER)" = current ] || { command -v python3 >/dev/null || { \
	echo "error: there is no python3 in PATH: apt-get install python3-venv" >&2; exit 1; }; devcluster/cluster check; }

.PHONY: demo
demo: machine $(UV) ## Cluster, images, S3, operator, dataset, training, pictures. DATA=dir uses your COCO folder
	$(UV) run --frozen --no-default-groups --group demo python -m demo $(if $(DATA),--data $(DATA))

.PHONY: sample-dataset
sample-dataset: setup ## Handwritten digits with boxes to try a training on. TO=s3://bucket/folder, or a folder
	@[ -n "$(TO)" ] || { echo "error: say where it goes: make sample-dataset TO=s3://bucket/folder" >&2; exit 1; }
	$(RUN) python -m demo.sample "$(TO)"

.PHONY: bench
bench: setup ## Time and count against the published code, torchvision and pycocotools; writes docs/benchmarks.md
	$(RUN) python -m tests.bench

# The Python that has torch for the GPU, such as that of the trainer's image; .venv's by default.
.PHONY: gpu-check
gpu-check: ## What a GPU does, in 8 minutes, with PYTHON's torch: numbers, times, a training; needs no network
	$(or $(PYTHON),.venv/bin/python) -m tests.gpu

.PHONY: exports
exports: setup ## Real exports of annotation tools through preflight and training; fetches the tools from PyPI
	$(RUN) python -m tests.exports

.PHONY: clean
clean: ## Remove what builds and tests left in the checkout
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
