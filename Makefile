# The commands of this tree; each does its own set-up. `make help` lists them.
PRESET := release
BUILD  := build/$(PRESET)
JOBS   := $(shell nproc)

.DEFAULT_GOAL := help
.PHONY: help setup build quickstart test test-long bench soak lint format install clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## install what is missing: Debian packages, .venv
	@cmake/setup.sh

build: setup  ## build everything with the release preset
	@[ -f $(BUILD)/build.ninja ] || cmake --preset $(PRESET)
	@cmake --build $(BUILD) -j $(JOBS)

quickstart: build  ## pack, train on 4 ranks, kill one, resume, classify (about 5 minutes)
	@docs/quickstart.sh $(BUILD)

test: build  ## every test but the long ones
	@ctest --test-dir $(BUILD) --output-on-failure -LE long -j $(JOBS)

test-long: build  ## the long tests too
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

bench: build  ## the benchmarks against peers, one run
	@bench/run.sh $(BUILD)

soak: build  ## an hour of training while something is killed or fails every few seconds
	@tests/faults/soak.sh $(BUILD)

lint: setup  ## formatting, and the rules of the tree
	@git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format --dry-run --Werror
	@/usr/bin/python3 tests/rules/check.py

format:  ## clang-format in place
	@git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format -i

PREFIX := $(HOME)/contrail
install: build  ## cmake --install to PREFIX (default ~/contrail)
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean:  ## remove the build tree (keeps .venv and runs/)
	@rm -rf build
