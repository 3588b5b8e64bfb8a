# Everything runs from a fresh clone: each target makes the environment that it needs.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-interop test-plugins test-lowest check bench lock clean

demo: .venv/ready
	@$(BIN)/python samples/demo.py

test: .venv/ready
	$(BIN)/python -m pytest -n auto

# Live against llama.cpp. The first run on a machine builds it, which takes some minutes.
test-interop: .venv/interop .venv/vocabularies/ready
	QFORMAT_INTEROP=1 QFORMAT_LLAMA_VOCABULARIES=.venv/vocabularies $(BIN)/python -m pytest -n auto tests/interop

# What docs/plugins.md promises, in an environment where nothing but qformat is installed: the package that
# `new-scheme` writes and the example build, install, pass their tests and convert the sample.
test-plugins:
	rm -rf build/plugins
	$(PYTHON) -m venv build/plugins
	build/plugins/bin/pip install -q --disable-pip-version-check -c constraints.txt . pytest
	build/plugins/bin/qformat new-scheme mine --into build/plugins/made
	build/plugins/bin/pip install -q --disable-pip-version-check -c constraints.txt build/plugins/made/mine plugins/example
	build/plugins/bin/python -m pytest -q -c /dev/null --rootdir build/plugins/made build/plugins/made/mine
	build/plugins/bin/python -m pytest -q -c /dev/null --rootdir plugins/example -p no:cacheprovider plugins/example
	for name in mine log4; do \
	  build/plugins/bin/qformat convert samples/village build/plugins/$$name.safetensors -s $$name -q && \
	  build/plugins/bin/qformat verify build/plugins/$$name.safetensors --source samples/village || exit 1; \
	done
	build/plugins/bin/qformat log4-levels
	QFORMAT_STRICT_PLUGINS=1 build/plugins/bin/qformat plugins

# `make test` with the oldest versions of the dependencies that pyproject.toml allows.
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
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/compile_time.py
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
