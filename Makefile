# `make train` and `make test` are all a newcomer needs; both build .venv first.
# The first that runs and is supported; 3.11 first, the newest that tensorflow-addons has wheels for.
PYTHON ?= $(shell for p in python3.11 python3.10 python3.12 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
LOCK := requirements.lock

.PHONY: venv train test test-slow lint lock clean

venv: .venv/ready

# uv is several times faster than pip but does not read pip's own settings
# (mirrors, certificates): where only pip reaches the package index, pip does it.
.venv/ready: $(LOCK) setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.13 on the PATH; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' $(LOCK) > .venv/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r $(LOCK) \
	  || $(BIN)/python -m pip install --quiet --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

train: venv
	$(BIN)/python -m tfforensics.train

test: venv
	$(BIN)/python -m pytest

test-slow: venv
	$(BIN)/python -m pytest -m slow

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Resolves setup.cfg again, for every supported Python at once.
lock: venv
	$(BIN)/uv pip compile setup.cfg --extra test --extra dev --universal --python-version 3.10 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o $(LOCK)

clean:
	rm -rf .venv runs records/demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
