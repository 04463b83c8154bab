#!/usr/bin/env bash
# Trains the heads that ship inside weir, from public data and from prompts.jsonl.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: router/encoder/data/make_heads.sh WEIR ROUTING_DATA [REPORTS]

  WEIR          the program to train with, e.g. build/release/gateway/weir
  ROUTING_DATA  the folder with intent_*.jsonl.gz, mmlu_pro.jsonl.gz, routellm_mmlu.jsonl.gz and zeroeval_crux.jsonl.gz
  REPORTS       where to write reports (default: build/heads-reports)

Writes heads_*.safetensors beside this script. Needs the model all-minilm-l6-v2 (weir model fetch all-minilm-l6-v2) and
Python 3. The figures are those of a cross-validation: every row trains in the end.
EOF
}

if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
weir=$1 routing=$2 reports=${3:-$here/../../../build/heads-reports}
rows=$reports/rows

python3 "$here/make_rows.py" "$routing" "$rows"
for model in all-minilm-l6-v2 static; do
    echo "heads for $model"
    "$weir" train --data "$rows/classes.jsonl.gz" --data "$rows/tiers.jsonl.gz" --model "$model" --balanced --tiers \
        --split 0 --heads "$here/heads_${model//-/_}.safetensors" --report "$reports/$model"
done
