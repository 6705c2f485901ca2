# `make train` and `make test` are all a newcomer needs; both build .venv first.
# The first that runs and is supported; 3.11 first, the newest that tensorflow-addons has wheels for.
PYTHON ?= $(shell for p in python3.11 python3.10 python3.12 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
PYTHON_IO ?= python3.11
BIN := .venv/bin
LOCK := requirements.lock
LOCK_IO := requirements-io.lock
BIN_IO := .venv-io/bin
# A process for each core; a file's tests share what they set up.
PARALLEL := -n auto --dist loadfile

.PHONY: venv venv-io train test test-io test-slow lint lock lock-io clean

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

# The complete package set, tensorflow-io among it, which only TensorFlow 2.16 can load: an
# environment of its own, for the same code (requirements-io.in). The package is installed
# without its dependencies, since setup.cfg's are the other environment's.
venv-io: .venv-io/ready

.venv-io/ready: $(LOCK_IO) setup.cfg pyproject.toml
	@command -v $(PYTHON_IO) >/dev/null || { echo "no $(PYTHON_IO), which tensorflow-io's environment needs; name one: make PYTHON_IO=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON_IO) -m venv .venv-io
	sed -n '/^uv==/,/[^\\]$$/p' $(LOCK_IO) > .venv-io/uv.lock
	$(BIN_IO)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv-io/uv.lock
	$(BIN_IO)/uv pip install --quiet --require-hashes --python $(BIN_IO)/python -r $(LOCK_IO) \
	  || $(BIN_IO)/python -m pip install --quiet --require-hashes -r $(LOCK_IO)
	$(BIN_IO)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

train: venv
	$(BIN)/python -m tfforensics.train

test: venv
	$(BIN)/python -m pytest $(PARALLEL)

test-io: venv-io
	$(BIN_IO)/python -m pytest $(PARALLEL)

test-slow: venv
	$(BIN)/python -m pytest -m slow

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Resolves setup.cfg again, for every supported Python at once.
lock: venv
	$(BIN)/uv pip compile setup.cfg --extra test --extra dev --extra openvino --universal --python-version 3.10 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o $(LOCK)

lock-io: venv
	$(BIN)/uv pip compile requirements-io.in --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o $(LOCK_IO)

clean:
	rm -rf .venv .venv-io runs records/demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
