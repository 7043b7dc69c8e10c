#!/usr/bin/env bash
# Make .venv with everything that robench needs, pinned by constraints.txt. Does nothing where it is up to date.
#
#   PYTHON=/path/to/python   take this interpreter
#   TORCH_INDEX=URL          one more package index for torch, e.g. https://download.pytorch.org/whl/cpu:
#                            the build without CUDA, gigabytes smaller
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
good() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

[ "$(uname -s)" = Linux ] || die "robench is set up on Linux; this is $(uname -s)."

# The place belongs to the stamp: a .venv that was moved or copied names its old place in its scripts.
want="$(cat pyproject.toml constraints.txt tools/setup.sh | sha256sum | cut -c1-16) $PWD"
stamp=.venv/robench-setup
if [ -x .venv/bin/robench ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && good .venv/bin/python; then
    exit 0
fi

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if good "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || die "found no Python >= 3.11 as ${PYTHON:-python3}. Install one (apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$("$python" --version) has no venv module. Install it: apt-get install python3-venv"

free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
[ "$free" -ge 4 ] || [ -x .venv/bin/robench ] || die "the disk has $free GB free here and .venv needs about 4 GB."

if ! good .venv/bin/python || [ "$(cut -d' ' -f2- "$stamp" 2>/dev/null || echo "$PWD")" != "$PWD" ]; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
rm -f "$stamp"

pip() { .venv/bin/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt "$@"; }
failed="could not install the packages: see pip's message above. Is there a network, or a package index for pip?"
say "installing (a few minutes the first time)"
pip pip setuptools || die "$failed"
# torch goes first and by its exact version: a range further down could bring another build of several gigabytes.
torch=$(grep -E '^torch==' constraints.txt)
pip ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$torch" || die "$failed"
pip --no-build-isolation --editable '.[dev]' || die "$failed"

if ! problem=$(.venv/bin/python -c 'import cv2' 2>&1); then
    die "opencv-python lacks a system library: ${problem##*$'\n'}. Install it: apt-get install libgl1 libglib2.0-0"
fi
echo "$want" >"$stamp"
say "ready: .venv/bin/robench"
