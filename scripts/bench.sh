#!/bin/sh
# Run the benchmarks of `make bench` one after another: bench.sh PYTHON [short]
#
# `short` takes the fewest rounds and leaves RESULTS.md alone: it shows that each benchmark works here, and measures nothing.
# Exit code 3 of a benchmark says that this machine lacks what it needs; the others go on, and the end lists what was skipped.
set -eu
python=$1 mode=${2:-full} skipped=""

bench() {  # bench NAME "options of a full run" "options of a short one"
  name=$1 options=$2
  if [ "$mode" = short ]; then options=$3; else options="$options --write"; fi
  echo "== $name $options"
  # shellcheck disable=SC2086 # options are words
  "$python" "benchmarks/$name.py" $options || { [ $? -eq 3 ] && skipped="$skipped $name"; } || exit 1
}

bench installed_size "" ""
bench preprocess "" "--rounds 1"
bench overhead "" "--rounds 1 --size 640x480"
bench cold_start "" "--rounds 1"
bench loadgen_agreement "" "--turns 2"
# All of compare_power's trials, its default, take 27 minutes by themselves: a third of them here.
bench compare_power "--slowed 4 --unchanged 6" "--slowed 1 --unchanged 1 --seconds 1"
bench peers "--rounds 5" "--rounds 1 --frames 30"
bench raw_engine "" "--rounds 1 --seconds 1"
bench export_time "" "--rounds 1"
bench streams "" "--rounds 1 --frames 60"
bench capture "" "--rounds 1 --frames 60"
bench live "" "--seconds 3"
bench scale "" "--rounds 1 --images 6000"
bench hot_switch "" "--seconds 12 --switches 1"
bench auto "" "--turns 2 --bundle edgeproof-demo/efficientnet-lite0.edge"
if [ -n "$skipped" ]; then echo "skipped:$skipped (the lines that begin with 'skipped:' say why)"; fi
