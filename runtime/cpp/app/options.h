#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "edgeproof/unknown.h"
#include "report/growing.h"
#include "sources/options.h"

namespace edgeproof::app {

/// The parsed command line.
struct Options {
    std::filesystem::path bundle;
    std::filesystem::path trust;  ///< key, certificates or policy; empty: no signature is required
    std::string source;
    bool label_by_folder = false;
    std::string engine = "auto";
    std::string precision;  ///< empty: the exported model's
    std::optional<int> threads;
    SourceOptions source_options;
    std::optional<std::filesystem::path> predictions;
    Rotation rotation;  ///< of predictions
    std::optional<std::filesystem::path> json;
    std::optional<std::int64_t> max_frames;
    std::string health;              ///< limits of healthy frames
    std::string classify_unhealthy;  ///< causes
    std::optional<double> threshold;     ///< probability below which a prediction is unsure
    std::optional<UnknownRule> unknown;  ///< when a frame shows none of the classes
    std::string unknown_text;            ///< as it was given
    std::optional<std::int64_t> sample;
    std::uint64_t seed = 0;
    std::optional<std::filesystem::path> grid;
    bool verify = false;
    bool help = false;
    bool version = false;
};

/// Parse the command line. Throws `Failure` (bad input) on an unknown option, or a missing or invalid value.
Options parse_options(int count, const char *const *arguments);

/// The text of `--help`.
std::string usage();

}  // namespace edgeproof::app
