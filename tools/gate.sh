#!/usr/bin/env bash
# Gate this checkout's pifu-mini: evaluate it and BASE's on held-out people, then robench gate. Its exit code is the answer.
#
#   tools/gate.sh weights BASE [CAND]   two checkpoints, both by this checkout's code
#   tools/gate.sh code BASE             BASE's code with its weights against this checkout's code with its weights;
#                                       exit 6 where a version was bumped, since then nothing says which one is right
#
# BASE: a git revision, or (weights) a file. CAND: a file; this checkout's weights if left out.
# Into build/gate. Run again, it resumes.   SUBJECTS=48 SIZE=256 RESOLUTION=64 RECIPE=2d-priors OUT=build/gate
#                                           POLICY=baselines/weights/gate.yaml DATA=folder of people of your own
set -euo pipefail
usage() { sed -n '4,6p;8p' "$0" >&2; exit 2; }
say() { printf 'gate: %s\n' "$*" >&2; }
absolute() { realpath -m -- "$1"; }

[ $# -ge 2 ] && [ $# -le 3 ] || usage
mode=$1 base=$2
case $mode in weights) ;; code) [ $# = 2 ] || usage ;; *) usage ;; esac
[ ! -f "$base" ] || base=$(absolute "$base")
candidate=${3:+$(absolute "$3")} policy=${POLICY:+$(absolute "$POLICY")}
data=${DATA:+$(absolute "$DATA")} out=${OUT:+$(absolute "$OUT")}
cd "$(dirname "$0")/.."

shipped=baselines/weights/pifu-mini.safetensors
candidate=${candidate:-$PWD/$shipped} policy=${policy:-$PWD/baselines/weights/gate.yaml} out=${out:-$PWD/build/gate}
# -P: not the modules of the working folder, but those of PYTHONPATH and the installed ones.
robench=(.venv/bin/python -P -m robench)
cores=$(nproc)
export OMP_NUM_THREADS=1
field() { .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# Runs resume by what versions say, and code that is being worked on has no new version: so they lie by its bytes.
here=$(find robench corruptions baselines \( -name '*.py' -o -name '*.yaml' \) -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-12)
[ -f "$candidate" ] || { say "there is no file $candidate"; exit 2; }

# What BASE names: a file of weights, or a revision whose tree is unpacked beside the results, the checkout left alone.
if [ -f "$base" ]; then
    [ "$mode" = weights ] || { say "'code' compares two revisions; $base is a file"; exit 2; }
    base_weights=$base
else
    commit=$(git rev-parse --verify --quiet "$base^{commit}") ||
        { say "'$base' is neither a file nor a git revision here; git fetch it?"; exit 2; }
    tree=$out/trees/${commit:0:12}
    if [ ! -e "$tree/.whole" ]; then
        mkdir -p "$tree"
        git archive "$commit" | tar -x -C "$tree"
        touch "$tree/.whole"
    fi
    base_weights=$tree/$shipped
    [ -f "$base_weights" ] || { say "$base has no $shipped"; exit 2; }
fi

# evaluate TREE CHECKPOINT NAME: print the run's folder.
evaluate() {
    PYTHONPATH=$1 "${robench[@]}" evaluate --model pifu-mini --checkpoint "$2" --data "$data" --recipe "${RECIPE:-2d-priors}" \
        --masker given --metrics chamfer_cm --resolution "${RESOLUTION:-64}" --keep-meshes none --workers "$cores" \
        --out "$out/runs/$3" --json --quiet | field run
}

if [ -z "$data" ]; then
    data=$out/people-${SUBJECTS:-48}-${SIZE:-256}
    say "people: ${SUBJECTS:-48} that no training saw"
    "${robench[@]}" data synth "$data" --subjects "${SUBJECTS:-48}" --views 0 --size "${SIZE:-256}" --split test -j "$cores" >&2
fi
say "candidate: $candidate"
new=$(evaluate "$PWD" "$candidate" "candidate-$here")
say "base: $base"
if [ "$mode" = code ]; then
    old=$(evaluate "$tree" "$base_weights" "base-${commit:0:12}")
else
    old=$(evaluate "$PWD" "$base_weights" "base-$here")
fi
formats=terminal,md,json,junit${GITHUB_ACTIONS:+,github}
say "verdict, also in $out/$mode"
exec "${robench[@]}" gate "$old" "$new" --policy "$policy" --format "$formats" --out "$out/$mode"
