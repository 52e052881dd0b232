# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# The tests' models are so small that a second thread only waits for the first; a second process
# with whole files of tests does not. Files that take long and cannot be shared out begin first.
LONG := tests/test_killed.py tests/test_pipeline.py tests/test_rounds.py tests/stages
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
  --no-loadscope-reorder $(LONG) tests

.PHONY: help demo test test-slow test-browser check audit format docs clean install bench-peers bench-serving-peers

help:
	@echo "make demo       the whole loop in the miniature; prints the path of the report"
	@echo "make test       the tests"
	@echo "make test-slow  the tests that take minutes; with PRECEPTOR_REAL_DATA those of real records"
	@echo "make test-browser  pages in a headless chromium, which must be installed"
	@echo "make check      format, lint, types, tests"
	@echo "make audit      pinned versions beside known vulnerabilities, and sbom.json; needs the network"
	@echo "make format     rewrite the code in the house format"
	@echo "make docs       write docs/recipes.md anew from the configuration"
	@echo "make bench-peers  the environment of the libraries that 'preceptor bench' compares with"
	@echo "make bench-serving-peers  that of vLLM and llama.cpp; compiles for some minutes"
	@echo "make install    only the environment in $(VENV)"
	@echo "make clean      remove $(VENV), caches and runs/demo"

demo: $(INSTALLED)
	@$(BIN)/preceptor run miniature --out runs/demo

test: $(INSTALLED)
	@$(PYTEST)

# Real records lie in no checkout; who has some names their folder, README.md says how.
test-slow: $(INSTALLED)
	@$(PYTEST) -m "(slow$(if $(PRECEPTOR_REAL_DATA), or real)) and not browser"

# One process: two browsers on two cores wait for one another.
test-browser: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "browser and not slow" tests

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)
	@$(BIN)/python -m preceptor.recipes.documentation docs/recipes.md

install: $(INSTALLED)

# pip-audit says "no known vulnerabilities" of packages that its service does not answer about;
# --strict ends there. It has an environment of its own, so that it is not among what it looks at.
AUDIT := $(VENV)-audit/bin/pip-audit --strict --progress-spinner off --disable-pip --no-deps \
  --requirement constraints.txt
audit: $(INSTALLED)
	$(BIN)/python -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1
	@rm -f sbom.json; \
	$(AUDIT) --format cyclonedx-json --output sbom.json >$(VENV)-audit/said 2>&1 || true; \
	if ! grep -q '"components"' sbom.json 2>/dev/null; then \
	  tail -n 1 $(VENV)-audit/said >&2; rm -f sbom.json; \
	  echo "NOTHING WAS AUDITED: the list of known vulnerabilities was not reached, or" >&2; \
	  echo "does not know a package of constraints.txt. Run it where its service can be reached." >&2; \
	  exit 2; \
	fi; \
	$(AUDIT)

bench-peers: $(INSTALLED)
	$(BIN)/python -m venv --clear $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install -q --disable-pip-version-check -r benchmarks/peers.txt

# llama.cpp is compiled, and never taken from a wheel made for some other processor.
bench-serving-peers: $(INSTALLED)
	$(BIN)/python -m venv --clear $(VENV)-serving
	CMAKE_ARGS="-DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL=2 \
	  $(VENV)-serving/bin/python -m pip install -q --disable-pip-version-check \
	  --no-binary llama-cpp-python -r benchmarks/serving.txt
# The index's torchvision is made for a GPU's torch and cannot be imported; texts need none of these.
	$(VENV)-serving/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec

# An environment that a person made there is used as it is; a stamp tells that ours is complete.
$(INSTALLED): pyproject.toml constraints.txt
	@set -e; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  found=; \
	  for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14 python; do \
	    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	        >/dev/null 2>&1; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.11 or newer with its venv module is needed, and none was found." >&2; \
	    echo "Install it, or name it: make PYTHON=/path/to/python3.11 demo" >&2; \
	    exit 2; \
	  fi; \
	  "$$found" -m venv --clear $(VENV); \
	fi; \
	echo "Installing into $(VENV) (once, some minutes)" >&2; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check \
	  -e '.[dev]' -c constraints.txt; \
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers $(VENV)-serving $(VENV)-audit runs/demo sbom.json
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
