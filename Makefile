# Each target sets up what it needs in .venv: make demo, make test, make lint, make docs. Beside them
# make integration EXTRA=mlflow runs that extra's script in a fresh environment that has nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test lint docs integration format clean

demo: .venv/core
	$(BIN)/widemargin demo --out demo

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Small networks: threads that wait for each other cost more than they give, six times as much where cores are busy.
test docs integration: export OMP_NUM_THREADS = 1

docs: .venv/docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs build/docs
	$(BIN)/sphinx-build --fail-on-warning --quiet -b linkcheck docs build/links

integration: FRESH = build/integration/$(EXTRA)
integration:
	@test -f docs/gallery/integrations/with_$(EXTRA).py || { echo "EXTRA must be one of: \
	$(patsubst docs/gallery/integrations/with_%.py,%,$(wildcard docs/gallery/integrations/with_*.py))"; exit 1; }
	$(PYTHON) -m venv --clear $(FRESH)
	$(FRESH)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt '.[$(EXTRA)]'
	$(FRESH)/bin/python docs/gallery/integrations/with_$(EXTRA).py

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv

.venv/core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[dev]'
	touch $@ .venv/core

.venv/docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[docs]'
	touch $@ .venv/core
