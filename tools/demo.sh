#!/usr/bin/env bash
# The whole way on a small scale: render people, corrupt them, find masks, reconstruct, measure, report. Into demo/.
# Run again, it resumes.   SUBJECTS=6 VIEWS=0,30 SIZE=512 OUT=demo
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-demo}
robench=.venv/bin/robench
jobs=$(nproc)
export OMP_NUM_THREADS=$jobs
mkdir -p "$out"

step() { printf '\n== %s\n' "$*" >&2; }
# The field of a command's --json answer.
field() { .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

step "1/5 people: ${SUBJECTS:-6} rendered subjects with masks, depth and ground truth"
$robench data synth "$out/people" --subjects "${SUBJECTS:-6}" --views "${VIEWS:-0,30}" --size "${SIZE:-512}" --split test -j "$jobs"

step "2/5 corrupt: the twelve corruptions of the 2D-priors paper"
cset=$($robench corrupt "$out/people" "$out/corrupted" --recipe 2d-priors -j "$jobs" --preview "$out/corruptions.png" --json | field folder)

step "3/5 mask: where is the person in each corrupted picture?"
$robench mask "$cset" --masker u2netp-anny

step "4/5 evaluate: the model-free reference, pifu-mini, and pifu-mini with the true masks, to tell what the mask costs"
reference=$($robench evaluate --model mean-body --cset "$cset" --masker u2netp-anny --out "$out/runs" --json | field run)
run=$($robench evaluate --model pifu-mini --cset "$cset" --masker u2netp-anny --out "$out/runs" --json | field run)
given=$($robench evaluate --model pifu-mini --cset "$cset" --masker given --keep-meshes none --out "$out/runs" --json | field run)

step "5/5 report"
$robench report "$run" --reference "$reference" --true-masks "$given" --format md,csv,latex,html --plots --out "$out/report"

step "look at"
find "$out/corruptions.png" "$out/report" -type f \( -name '*.png' -o -name '*.md' -o -name '*.csv' -o -name '*.tex' \) | sort

step "open in a browser: $out/report/report.html"
