#!/usr/bin/env bash
# The steps of action.yml: `github-action.sh install|export|verify|measure|compare|summarise`, with its inputs as variables.
# Inputs are never text of a script: a title of a pull request could hold commands.
set -euo pipefail

# Split $ARGUMENTS as a shell would, without running anything, into the array `more`.
split() {
  local file
  file=$(mktemp)
  python -c 'import os, shlex, sys; sys.stdout.write("".join(f"{word}\0" for word in shlex.split(os.environ["ARGUMENTS"])))' > "$file"
  mapfile -d '' -t more < "$file"
  rm -- "$file"
}

case "$1" in
  install)
    python -m pip install "${PACKAGE:-${SOURCE}[export,report]}"
    ;;
  export)
    mkdir -- "$FOLDER"
    split
    edgeproof export "$MODEL" --out "$FOLDER/model.edge" --json "$FOLDER/export.json" "${more[@]}"
    echo "bundle=$FOLDER/model.edge" >> "$GITHUB_OUTPUT"
    ;;
  verify)
    edgeproof verify "$FOLDER/model.edge" --engine "$ENGINE" --json "$FOLDER/verify.json"
    ;;
  measure)
    split
    command=(bench "$FOLDER/model.edge")
    if [ -n "$DATA" ]; then command=(evaluate "$FOLDER/model.edge" --data "$DATA"); fi
    echo "measure=$FOLDER/measure.json" >> "$GITHUB_OUTPUT"
    edgeproof "${command[@]}" --engine "$ENGINE" --json "$FOLDER/measure.json" "${more[@]}"
    ;;
  compare)
    if [ ! -f "$BASELINE" ]; then
      echo "No baseline: ${BASELINE:-none was given}." > "$FOLDER/compare.md"
      exit 0
    fi
    split
    edgeproof compare "$BASELINE" "$FOLDER/measure.json" "${more[@]}" > "$FOLDER/compare.md"
    ;;
  summarise) # also after a failed gate, whose report says what was missed
    reports=()
    for name in export verify measure; do
      if [ -f "$FOLDER/$name.json" ]; then reports+=("$FOLDER/$name.json"); fi
    done
    if [ ${#reports[@]} -eq 0 ]; then
      echo "edgeproof wrote no report: the log of the step that failed says why." >> "$GITHUB_STEP_SUMMARY"
      exit 0
    fi
    for report in "${reports[@]}"; do
      edgeproof report "$report" --markdown -
      echo
    done > "$FOLDER/summary.md"
    if [ -s "$FOLDER/compare.md" ]; then
      { echo "### Comparison"; echo; cat "$FOLDER/compare.md"; } >> "$FOLDER/summary.md"
    fi
    edgeproof report "${reports[@]}" --out "$FOLDER/report.html"
    edgeproof report "${reports[-1]}" --badge "$FOLDER/badge.svg"
    cat "$FOLDER/summary.md" >> "$GITHUB_STEP_SUMMARY"
    {
      echo "summary=$FOLDER/summary.md"
      echo "page=$FOLDER/report.html"
      echo "badge=$FOLDER/badge.svg"
    } >> "$GITHUB_OUTPUT"
    ;;
  *)
    echo "no step: $1" >&2
    exit 2
    ;;
esac
