#!/usr/bin/env bash
# Fuzzes the C++ readers (libFuzzer, clang) and the Python readers (tests/hostile/fuzz.py) for SECONDS in all.
# Usage: scripts/fuzz.sh SECONDS [SEED]. What makes one fail is left in build/fuzz/found.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?how many seconds}
seed=${2:-$((RANDOM * 32768 + RANDOM + 1))} # 0 would be a seed of the fuzzer's own
echo "again with the same inputs: make fuzz SECONDS=$seconds SEED=$seed"
targets=(bundle contract json labels npy onnx preprocess redact)
each=$((seconds / (${#targets[@]} + 4))) # the Python readers get the rest
export ASAN_OPTIONS=allocator_may_return_null=0:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1

# Some packages of clang come without the library of its fuzzer.
has_fuzzer() {
  local folder code=1
  folder=$(mktemp -d)
  echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }' >"$folder/probe.cpp"
  clang++ -fsanitize=fuzzer,address "$folder/probe.cpp" -o "$folder/probe" 2>/dev/null && code=0
  rm -rf "$folder"
  return $code
}

scripts/system-packages.sh fuzz
if has_fuzzer; then
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz --parallel "$(nproc)" >/dev/null
  mkdir -p build/fuzz/found
  for target in "${targets[@]}"; do
    corpus=build/fuzz/corpus/$target
    rm -rf "$corpus" # a seed repeats a run only from the same inputs
    mkdir -p "$corpus"
    .venv/bin/python tests/hostile/seeds.py "$target" "$corpus"
    echo "fuzz_$target: $each s"
    # A bound on the input's size keeps single runs short; a target is slow above 20 s, and large above 2 GB.
    "build/fuzz/runtime/cpp/fuzz/fuzz_$target" "$corpus" -seed="$seed" -max_total_time="$each" -max_len=65536 -timeout=20 \
      -rss_limit_mb=2048 -artifact_prefix=build/fuzz/found/ -print_final_stats=1 -verbosity=0
  done
else
  echo "the C++ readers are not fuzzed: no clang++ with libFuzzer here (apt-get install clang libclang-rt-dev)"
fi
.venv/bin/python tests/hostile/fuzz.py $((each * 4)) --seed "$seed"
