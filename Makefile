# make search   the main job: a search on real images, in minutes
# make test     the tests a change is judged by; make test-slow: whole searches, killed ones too
# make check    ruff, mypy, import-linter
# make soak     searches whose processes are killed and whose files are damaged: ROUNDS=20 times
# make bench    whole searches beside Ray Tune's documented pattern, on Fashion-MNIST: an hour or two
PYTHON ?= python3
BIN := .venv/bin
# One thread a process: the tests and the trials share the cores.
export OMP_NUM_THREADS ?= 1

ROUNDS ?= 20

.PHONY: setup search test test-slow soak check bench format clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

search: setup
	$(BIN)/thaw search examples/digits.yaml --resume

test: setup
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

# Only the files that name the marker, which saves each worker the collection of all others; in the order of their
# names: by number of tests, as xdist would have it, the files that take longest come last.
test-slow: setup
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m slow \
		$(shell grep -rlw --include='test_*.py' 'mark\.slow' tests | sort -r)

soak: setup
	$(BIN)/python tests/faults/soak.py --rounds $(ROUNDS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/search.py --backbone mobilenet_v3_small
	$(BIN)/python benchmarks/search.py --backbone mobilenet_v3_small --all
	$(BIN)/python benchmarks/search.py --backbone efficientnet_lite0
	$(BIN)/python benchmarks/search.py --backbone efficientnet_lite0 --all
	$(BIN)/python benchmarks/overhead.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
