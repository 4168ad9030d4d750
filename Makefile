# make search   the main job: a search on real images, in minutes
# make test     the tests a change is judged by; make test-slow: whole searches, killed ones too
# make check    ruff, mypy, import-linter
PYTHON ?= python3
BIN := .venv/bin
# One thread a process: the tests and the trials share the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: setup search test test-slow check format clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

search: setup
	$(BIN)/thaw search examples/digits.yaml --resume

test: setup
	$(BIN)/pytest -n 2 -m 'not slow'

test-slow: setup
	$(BIN)/pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
