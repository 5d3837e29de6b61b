# On a fresh machine, run `make demo` or `make test`. Both create .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test lint pytest benchmark clean

demo: $(VENV)/demo
	$(BIN)/bertx fit --config demo.yaml

test: $(VENV)/dev
	$(MAKE) --jobs 2 lint pytest

pytest: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(VENV)/dev
	@test -f "$(DATA)" || { echo "usage: make benchmark DATA=DIR/dev.tsv  (texts in the first column)"; exit 2; }
	$(BIN)/python benchmarks/attribution.py --data $(DATA)
	$(BIN)/python benchmarks/perturbation.py --data $(dir $(DATA))
	$(BIN)/python benchmarks/attribution_memory.py

$(VENV)/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
