#pragma once

#include <cstdint>
#include <filesystem>

#include "edgeproof/bundle.h"
#include "engines/base.h"

namespace edgeproof::app {

struct SampleOptions {
    std::int64_t count = 0;
    std::uint64_t seed = 0;
    std::filesystem::path grid;
};

/// Make pictures number 0 to `count - 1` of a seed and write them side by side, as `edgeproof sample --grid` does.
/// Throws `Failure` (bad input): the bundle makes no pictures, a value is no number, the file cannot be written.
void sample(const Bundle &bundle, Engine &engine, const SampleOptions &options);

}  // namespace edgeproof::app
