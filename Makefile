# Every target sets up what it needs: Python 3.11 and git are enough.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
export TUMORSCOPE_DATA ?= $(if $(wildcard ../shared/data/kaggle),$(abspath ../shared/data),)

.PHONY: demo test setup format lint types imports unit coverage test-newest tables notebooks static-page site clean

demo: setup            ## draw phantoms, find planted faults, train, evaluate, export, predict
	$(RUN)/tumorscope demo

test: lint types imports coverage   ## every check that CI makes

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

format: setup          ## put the code in its standard form
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

lint: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/codespell
	$(RUN)/codespell --dictionary site/british.txt --ignore-regex '`[^`]*`|Brain Tumor|[A-Za-z0-9+/=]{60,}' *.md docs site/pages/*.md

types: setup
	$(RUN)/mypy

imports: setup
	$(RUN)/lint-imports

# Three processes of one thread each for two cores: many tests wait, for a server or a browser.
# Neighbours stay together, for they share what they are tested on. Bytecode is kept, even where the
# machine is set to keep none: the tests start a hundred programs.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN)/pytest --numprocesses 3 --dist worksteal

unit: setup            ## the tests
	$(PYTEST)

coverage: setup        ## the tests, and which lines they reach, which takes a third longer
	$(PYTEST) --cov --cov-report=term:skip-covered

NEWEST := $(VENV)-newest
test-newest:           ## notebooks and tests with the newest packages, but for torch, in a place of its own
	$(PYTHON) -m venv $(NEWEST)
	grep '^torch==' constraints.txt > $(NEWEST)/torch.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		--constraint $(NEWEST)/torch.txt --editable '.[dev]'
	$(NEWEST)/bin/pytest --numprocesses 2 tests/test_docs.py tests/test_public_interface.py \
		tests/datasets tests/evaluation tests/export tests/images tests/inference tests/networks \
		tests/pacs/test_objects.py tests/pacs/test_segmentation.py tests/serve/test_app.py tests/training

tables: setup          ## rebuild the README's tables from results/
	$(RUN)/python benchmarks/tables.py

notebooks: setup       ## run the notebooks and keep their outputs
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[notebooks]'
	$(RUN)/python site/run_notebooks.py

static-page: setup     ## the page with the model in the browser, for any host of files (needs npm)
	$(RUN)/python static_page/build.py

site:                  ## the documentation as a site, build/site; with the page above, where that was built
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[site]'
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --config-file site/mkdocs.yml

clean:
	rm -rf $(VENV) $(NEWEST) build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
