#!/bin/sh
# make soak: trains for an hour (or SECONDS) while ranks, mpirun or the launcher are killed or stopped
# every few seconds; the losses must be those of an undisturbed run.
#   tests/faults/soak.sh BUILD_DIR [SECONDS]
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?build folder}" && pwd)
CONTRAIL_TEST_BIN=$build/bin PYTHONDONTWRITEBYTECODE=1 \
  exec python3 "$top/tests/faults/soak.py" "${2:-3600}"
