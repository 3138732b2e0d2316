#!/bin/sh
# make soak: trains for an hour (or as the options of campaign.py say) while ranks, mpirun and the
# launcher are killed and files fail; the losses must be those of an undisturbed run.
#   tests/faults/soak.sh BUILD_DIR [options of campaign.py]
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?build folder}" && pwd)
shift
[ $# -gt 0 ] || set -- --seconds 3600
CONTRAIL_TEST_BIN=$build/bin PYTHONDONTWRITEBYTECODE=1 \
  exec python3 "$top/tests/faults/campaign.py" "$@"
