#!/usr/bin/env bash
# Start a Slurm of one node, test the workflow on it, and take it down again, whatever happens: `make test-slurm`.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "make test-slurm needs root to start Slurm's daemons, and there is no sudo: run it as root" >&2; exit 1; }
    as_root=(sudo)
fi

tests=
finish() {
    trap '' INT TERM
    # Ctrl-C and SIGTERM: Snakemake cancels its jobs, then all that the tests have started must be gone.
    if [ -n "$tests" ] && kill -INT -- "-$tests" 2>/dev/null; then
        for _ in $(seq 100); do
            kill -0 -- "-$tests" 2>/dev/null || break
            sleep 0.2
        done
        kill -KILL -- "-$tests" 2>/dev/null || true
    fi
    "${as_root[@]}" tests/slurm/cluster.sh stop
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"${as_root[@]}" tests/slurm/cluster.sh start "$(id -un)"
set -m # a process group of its own for the tests: all of it can be ended
PATCHSHIFT_SLURM=1 pytest -vv --durations=1 tests/slurm </dev/null &
tests=$!
wait "$tests"
