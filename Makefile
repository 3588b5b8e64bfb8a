# Everything runs from a fresh clone: each target makes the environment that it needs.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-interop test-lowest check bench lock clean

demo: .venv/ready
	@$(BIN)/python samples/demo.py

test: .venv/ready
	$(BIN)/python -m pytest -n auto

# Live against llama.cpp. The first run on a machine builds it, which takes some minutes.
test-interop: .venv/interop .venv/vocabularies/ready
	QFORMAT_INTEROP=1 QFORMAT_LLAMA_VOCABULARIES=.venv/vocabularies $(BIN)/python -m pytest -n auto tests/interop

# The same with the oldest versions of the dependencies that pyproject.toml allows.
test-lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install -q --disable-pip-version-check -c constraints-lowest.txt -e '.[test]'
	build/lowest/bin/python -m pytest -n auto

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/eval_memory.py
	$(BIN)/python benchmarks/sweep.py

# Tested versions; pyproject.toml has the lower bounds.
lock: .venv/ready
	$(BIN)/pip freeze --exclude qformat | sed "s,+cpu,," | sort -f > constraints.txt

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/interop: .venv/ready
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[interop]'
	touch $@

# llama.cpp's vocabularies, from the source that llama-cpp-python is built from.
.venv/vocabularies/ready: constraints.txt | .venv/ready
	rm -rf build/sdist $(@D) && mkdir -p build/sdist $(@D)
	$(BIN)/pip download -q --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
		-c constraints.txt -d build/sdist llama-cpp-python
	$(BIN)/python tests/interop/unpack_vocabularies.py build/sdist $(@D)
	rm -rf build/sdist
	touch $@

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qformat needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,check]'
	touch $@
