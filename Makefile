# Each target sets up .venv on a machine that has only Python 3.10 to 3.13 and make, and re-uses it next time.
PYTHON ?= python3
PRESET ?= quick
PORT ?= 8888
RUN_ARGS ?=
PYTEST_ARGS ?=
# Two processes, a test file each at a time, with one thread each: on two cores twice as fast as one with two threads.
# The notebooks take longest, so they begin.
PYTEST_JOBS ?= 2
LAB_ARGS ?=
APP_ARGS ?=
# For make bench: the folder of the DJIA's bars, which are not bundled (bench/protocol.py says which), an interpreter that
# has the extra 'peers', and the forecasts that bench/rivals.py made with it
DJIA ?=
# Folders of markets to train on, each with a corpus.toml (bench/corpus.py)
CORPUS ?=
PEERS ?=
RIVALS ?=

PY := .venv/bin/python
# The stamp's name changes with what is installed and where, so that nothing else makes pip run again.
STAMP := .venv/.installed-$(shell (pwd; cat pyproject.toml constraints.txt) | cksum | cut -d' ' -f1)
# The packages that we are measured against want other versions than ours, so they have an environment of their own.
PEERS_PY := .venv-peers/bin/python
PEERS_STAMP := .venv-peers/.installed-$(shell (pwd; cat pyproject.toml constraints.txt) | cksum | cut -d' ' -f1)
# What hosted sessions have is older, and they bring their own Jupyter: only the extra 'hosted' is installed there.
OLD_PY := .venv-old/bin/python
OLD_STAMP := .venv-old/.installed-$(shell (pwd; cat pyproject.toml constraints.txt tests/old.txt) | cksum | cut -d' ' -f1)
# Driving a browser takes a large package that nothing else needs.
BROWSER_STAMP := .venv/.browser-$(shell (pwd; cat pyproject.toml constraints.txt) | cksum | cut -d' ' -f1)
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
ROOT_ARGS := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help setup run test peers peers-setup old old-setup browser browser-setup lab app lint format pictures bench clean

help: ## Show this help
	@echo "make TARGET [PRESET=tiny|quick|cloud|card|v1.0|v2.0|v2.1] [PYTHON=python3.12] [PORT=8888]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP):
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here: install Python 3.10 to 3.13, or name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "tftnhits needs Python 3.10 to 3.13 and $(PYTHON) is %d.%d: name another: make PYTHON=/path/to/python3.12" % v)'
	@$(PY) -c '' 2>/dev/null || { echo "Making .venv with $$($(PYTHON) --version) ..."; rm -rf .venv; $(PYTHON) -m venv .venv || { echo "$(PYTHON) can't make virtual environments (on Debian and Ubuntu: apt install python3-venv)"; rm -rf .venv; exit 1; }; }
	@echo "Installing tftnhits and what it needs into .venv (some minutes the first time) ..."
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[all,app,dev]"
	@rm -f .venv/.installed-*
	@touch $@

setup: $(STAMP) ## Set up .venv and nothing more
	@echo "Ready: $(CURDIR)/.venv"

run: $(STAMP) ## Execute all notebooks: forecasts, figures and a report in notebooks/runs/
	@echo "Executing the notebooks with preset '$(PRESET)' ..."
	@$(PY) -m tftnhits run --preset "$(PRESET)" $(RUN_ARGS)

test: $(STAMP) ## Run the tests but for those of browser, peers and old, and the weekly ones (PYTEST_ARGS='-m weekly')
	@mkdir -p build
	@echo "Running the tests ..."
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(PYTEST_JOBS) --dist loadfile --no-loadscope-reorder --junitxml=build/test-results.xml $(PYTEST_ARGS) tests/test_notebooks.py tests || { echo "Tests failed; results: $(CURDIR)/build/test-results.xml"; exit 1; }
	@echo "Results: $(CURDIR)/build/test-results.xml"

$(PEERS_STAMP): $(STAMP)
	@mkdir -p build && grep '^torch==' constraints.txt > build/torch.txt
	@$(PEERS_PY) -c '' 2>/dev/null || { rm -rf .venv-peers; $(PYTHON) -m venv .venv-peers; }
	@echo "Installing the peers into .venv-peers (some minutes the first time) ..."
	@$(PEERS_PY) -m pip install -qq --disable-pip-version-check -c build/torch.txt -e ".[torch,peers]" pytest hypothesis
	@touch $@

peers-setup: $(PEERS_STAMP)

peers: $(PEERS_STAMP) ## Compare our networks with the peers', given the same weights
	@$(PEERS_PY) -m pytest -m peers tests/test_peers.py

$(OLD_STAMP): $(STAMP)
	@mkdir -p build && grep '^torch==' constraints.txt > build/torch.txt
	@$(OLD_PY) -c '' 2>/dev/null || { rm -rf .venv-old; $(PYTHON) -m venv .venv-old; }
	@echo "Installing the oldest versions that are supported into .venv-old (some minutes the first time) ..."
	@$(OLD_PY) -m pip install -qq --disable-pip-version-check -c build/torch.txt -c tests/old.txt -e ".[hosted]" ipykernel papermill pytest hypothesis
	@rm -f .venv-old/.installed-*
	@touch $@

old-setup: $(OLD_STAMP)

old: $(OLD_STAMP) ## Run notebooks and widgets with the pandas, plotly and ipywidgets of hosted sessions
	@$(OLD_PY) -m pytest tests/test_notebooks.py tests/test_shock.py tests/test_panel.py $(PYTEST_ARGS)

$(BROWSER_STAMP): $(STAMP)
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[all,app,browser,dev]"
	@rm -f .venv/.browser-*
	@touch $@

browser-setup: $(BROWSER_STAMP)

browser: $(BROWSER_STAMP) ## Drive JupyterLab and the page of make app in a real Chromium; pictures in build/browser/
	@$(PY) -m pytest -m browser tests/browser $(PYTEST_ARGS)

lab: $(STAMP) ## Open the notebooks in JupyterLab
	@echo "Starting JupyterLab on port $(PORT); Ctrl-C ends it. Notebooks: $(CURDIR)/notebooks"
	@$(PY) -m jupyterlab --port="$(PORT)" --ServerApp.root_dir="$(CURDIR)/notebooks" $(ROOT_ARGS) $(LAB_ARGS)

app: $(STAMP) ## Serve the what-if panel as a page
	@echo "Starting the page of notebook 09 on port $(PORT); Ctrl-C ends it. Open the address with the token."
	@JUPYTER_PATH="$(CURDIR)/tftnhits/apps" JUPYTER_CONFIG_PATH="$(CURDIR)/tftnhits/apps/voila" $(PY) -m voila --port="$(PORT)" $(APP_ARGS) notebooks/09_what_if.ipynb

lint: $(STAMP) ## Check style, import layers and that notebooks carry no outputs
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check . || { echo "Put it right with: make format"; exit 1; }
	@.venv/bin/lint-imports --no-cache
	@$(if $(NOTEBOOKS),$(PY) -m nbstripout --verify $(NOTEBOOKS) || { echo "Put it right with: make format"; exit 1; })
	@echo "Clean: $(CURDIR)"

format: $(STAMP) ## Put code and notebooks into the house style
	@$(PY) -m ruff check --fix --exit-zero --quiet .
	@$(PY) -m ruff format .
	@$(if $(NOTEBOOKS),$(PY) -m nbstripout $(NOTEBOOKS))
	@echo "Formatted: $(CURDIR)"

pictures: $(BROWSER_STAMP) ## Make the pictures of README.md and docs/gallery.md afresh (some minutes)
	@$(PY) -m tftnhits run --preset quick --out build/pictures
	@$(PY) bench/pictures.py --run build/pictures

bench: $(STAMP) ## Measure speed and accuracy afresh into data/results/ (hours; DJIA= folder of its bars, see bench/protocol.py)
	@test -n "$(CORPUS)" || { echo "Name the folders of markets to train on: CORPUS='A B' (bench/corpus.py says what they hold)"; exit 1; }
	@test -d "$(DJIA)" || { echo "Name the folder of the DJIA's bars: make bench DJIA=/path (bench/protocol.py says which)"; exit 1; }
	$(PY) bench/speed.py $(if $(PEERS),--peers $(PEERS))
	$(PY) bench/quality.py "$(DJIA)" $(if $(PEERS),--peers $(PEERS))
	$(PY) bench/rolling.py "$(DJIA)" $(if $(PEERS),--peers $(PEERS))
	$(PY) bench/pretrain.py --corpus $(CORPUS)
	$(PY) bench/djia.py --data "$(DJIA)" --model build/pretrain/model --out build/pretrain/djia.json $(if $(RIVALS),--rivals $(RIVALS))
	$(PY) bench/latency.py
	$(PY) bench/finetune.py
	$(PY) bench/backtest.py --data "$(DJIA)"
	$(PY) bench/ablation.py --data "$(DJIA)"
	$(PY) bench/commands.py
	$(PY) bench/browser.py
	$(PY) bench/readme.py
	@echo "Results: $(CURDIR)/data/results"

clean: ## Remove .venv, .venv-peers, .venv-old, build outputs and caches; notebooks/runs stays
	@rm -rf .venv .venv-peers .venv-old build dist tftnhits.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@echo "Removed the environments, build and caches in $(CURDIR)"
