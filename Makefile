# The commands of this tree; each does its own set-up. `make help` lists them.
PRESET := release
BUILD  := build/$(PRESET)
JOBS   := $(shell nproc)

.DEFAULT_GOAL := help
.PHONY: help setup build quickstart test test-long sanitize benches bench soak lint format install release clean

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

sanitize: setup  ## the part without LibTorch under address, undefined-behaviour and thread sanitizers, and the fuzz targets
	@cmake --preset asan >/dev/null
	@cmake --build build/asan -j $(JOBS)
	@ctest --test-dir build/asan --output-on-failure -L 'unit|fuzz' -j $(JOBS)
	@cmake --preset tsan >/dev/null
	@cmake --build build/tsan -j $(JOBS)
	@setarch -R ctest --test-dir build/tsan --output-on-failure -L unit -E rules -j $(JOBS)

benches: build
	@cmake --build $(BUILD) -j $(JOBS) --target benches

bench: benches  ## the benchmarks against peers, one run
	@bench/run.sh $(BUILD)

soak: build  ## an hour of training while something is killed or fails every few seconds
	@tests/faults/soak.sh $(BUILD)

TIDY := 'common/*.cc' 'configs/*.cc' 'slurm/*.cc' 'launcher/*.cc' 'checkpoint/*.cc' 'data/*.cc' 'monitoring/*.cc'

lint: setup  ## formatting, the rules of the tree, clang-tidy over the part without LibTorch
	@git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format --dry-run --Werror
	@/usr/bin/python3 tests/rules/check.py
	@cmake --preset asan >/dev/null
	@cmake --build build/asan -j $(JOBS) --target contrail_generated >/dev/null
	@git ls-files $(TIDY) | xargs -n 4 -P $(JOBS) clang-tidy -p build/asan --quiet 2>/dev/null

format:  ## clang-format in place
	@git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format -i

PREFIX := $(HOME)/contrail
install: build  ## cmake --install to PREFIX (default ~/contrail)
	@cmake --install $(BUILD) --prefix $(PREFIX)

release: build  ## one archive that runs from any folder, with the site's glibc and MPI, in build/
	@cmake/release.py $(BUILD) build

clean:  ## remove the build tree (keeps .venv and runs/)
	@rm -rf build
