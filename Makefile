# Everything works from a clean clone with Python and make alone: .venv is made by the first target that needs it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
SECONDS ?= 60
CONTAINER ?= docker
# What Python compiles is kept: the tests' processes are a thousand, and each would do it again.
unexport PYTHONDONTWRITEBYTECODE
GPU := $(BIN)/python tests/bench/run.py --device cuda --ranks 64 --loras 2 --write build/gpu.json

.PHONY: help quickstart check test lint type quick unit long docs site bench concepts fuzz endurance gpu pictures wheel package image versions clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e . --group dev
	@touch $@

quickstart: $(STAMP)  ## merge two small LoRAs, fuse them and draw a picture
	$(BIN)/loramerge run recipes/quickstart.yaml

check: lint type quick  ## lint, type-check and test single rooms

# Types are checked and the documentation is built while the tests run, which leave a core idle at times; what both say
# comes last. Nothing is written into docs/ meanwhile: a test says which page is not up to date.
test: lint  ## lint, type-check, test and build the documentation
	@mkdir -p build; $(MAKE) -k type site >build/beside.txt 2>&1 & beside=$$!; trap "kill $$beside" INT TERM; \
	$(MAKE) unit; unit=$$?; wait $$beside; beside=$$?; cat build/beside.txt; exit $$((unit | beside))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP)
	$(BIN)/mypy

quick: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not long"

unit: $(STAMP)
	$(BIN)/python -m pytest -m "not long"

long: $(STAMP)  ## the tests that take longest: whole programs, several of them at once, kills, pictures
	$(BIN)/python -m pytest -m long

docs: $(STAMP)  ## write the reference from the code, and build docs/ into build/site
	$(BIN)/python tests/documentation/write.py
	$(MAKE) site

site: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)  ## measure against PEFT and diffusers, and write docs/figures.md and the README's figures; half an hour of a quiet machine
	$(BIN)/python tests/bench/run.py --write tests/bench/figures.json

concepts: $(STAMP)  ## measure what each combination type keeps of each LoRA, and write docs/methods-compared.md; half an hour of a quiet machine
	$(BIN)/python tests/compared/run.py

gpu: $(STAMP)  ## on a machine with an NVIDIA GPU: its tests, then figures into build/gpu.json and build/gpu.md
	$(BIN)/python -c "import sys, torch; sys.exit(None if torch.cuda.is_available() else 'torch sees no CUDA device')"
	$(BIN)/python -m pytest -m gpu -n 0
	rm -f build/gpu.json
	mkdir -p build
	$(GPU) --only merging --models sdxl --types cat ties dare_linear dare_ties svd
	$(GPU) --only files --models sdxl --types cat ties dare_linear svd
	$(GPU) --only fusing --models sdxl flux --runs 1

fuzz: $(STAMP)  ## look for files that break it, for SECONDS=60 (Linux, Python 3.11 to 3.13)
	$(BIN)/python -m pip install --quiet -c constraints.txt --group fuzz
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS)

endurance: $(STAMP)  ## kill it, let its disk fail, turn its clock, poison its caches, thousands of times, for hours (Linux, gcc); or PARTS="kills long"
	$(BIN)/python tests/endurance/run.py $(PARTS)

pictures: quickstart  ## make the pictures of the README and of docs/ again
	$(BIN)/python tests/pictures.py

# The same commit is the same bytes: the time in them is the commit's, and constraints.txt has what builds them.
wheel: $(STAMP)  ## build the sdist and the wheel into build/package
	rm -rf build/package
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir build/package .

package: wheel  ## the same, and try the wheel in an empty environment, with pipx, and list what it needs; some minutes
	$(BIN)/python -m pip install --quiet -c constraints.txt --group release
	$(BIN)/python tests/release/run.py

image: wheel  ## build a container image, and run the quickstart in it; CONTAINER=podman where that is your program
	$(CONTAINER) build --file Containerfile --tag loramerge .
	$(CONTAINER) run --rm loramerge --version
	$(CONTAINER) run --rm loramerge run recipes/quickstart.yaml

versions: $(STAMP)  ## add the documentation of VERSION=X.Y.Z to the branch gh-pages, as X.Y and latest
	@test -n "$(VERSION)" || { echo "which version? make versions VERSION=X.Y.Z" >&2; exit 64; }
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 mike deploy --config-file mkdocs-versions.yml \
		--update-aliases "$$(echo "$(VERSION)" | cut -d. -f1,2)" latest
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 mike set-default --config-file mkdocs-versions.yml latest

clean:  ## remove the environment and what was built
	rm -rf .venv dist build *.egg-info
