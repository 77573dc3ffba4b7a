# Everything runs in .venv. `make PYTHON=python3.12 …` makes it with another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Asked for besides what pyproject.toml says.
WITH :=

.DEFAULT_GOAL := test
.PHONY: setup test test-airflow-3.2 lint types bench demo clean

setup: $(STAMP)

# The version of the package stands in its __init__, the rest of what an installation depends on in pyproject.toml.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.12")'
	@rm -rf $(VENV)  # an environment made by another interpreter does not mix with this one
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV) && \
		uv pip install --quiet --python $(BIN)/python -e '.[dev]' $(WITH); \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(WITH); \
	fi
	@touch $@

# A worker per core; the tests of one file share a database and a sandbox. In the order of the folders: otherwise the
# files with the fewest tests come last, and those are the longest.
test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# The oldest Airflow that is supported, in an environment of its own, with a FastAPI it was made for. What they warn
# about is theirs.
test-airflow-3.2:
	$(MAKE) setup VENV=.venv-af32 WITH="'apache-airflow==3.2.*' 'fastapi<0.137'"
	.venv-af32/bin/python -m pytest tests/provider -m 'not live' -W default

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench

demo: setup
	$(BIN)/python -m demo

clean:
	rm -rf $(VENV) .venv-af32 build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .airflow .demo .bench
