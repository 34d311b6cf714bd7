#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bundle.h"
#include "edgeproof/latency.h"
#include "engine.h"
#include "source.h"

namespace edgeproof::app {

/// Stages of a frame's way, in order; the last two span the others.
constexpr std::array<const char *, 7> stage_names = {"capture",     "decode",     "preprocess", "inference",
                                                     "postprocess", "end_to_end", "frame_age"};

struct PipelineOptions {
    std::optional<std::filesystem::path> predictions;  ///< JSON lines, one a frame
    std::optional<std::int64_t> max_frames;
};

struct PipelineResult {
    std::array<LatencyRecorder, stage_names.size()> latency_ms;
    std::int64_t frames_in = 0;
    std::int64_t frames_classified = 0;
    std::int64_t frames_dropped = 0;
    std::int64_t defects = 0;         ///< frames whose score was above the threshold (task reconstruct)
    std::vector<std::string> failed;  ///< frames that no contract can be applied to, each with its reason
    double elapsed_s = 0.0;
};

/// Decide about a source's frames (a class, or good or defect) until it ends, or SIGINT or SIGTERM arrives. Every frame
/// of a file is decided; of a live source always the newest, and the frames that it overtook are counted as dropped. A
/// status line goes to stderr where that is a terminal. Throws `Failure`: the source gave no frame, the engine failed,
/// a file cannot be written.
PipelineResult decide_all(const Bundle &bundle, Engine &engine, Source &source, const PipelineOptions &options);

}  // namespace edgeproof::app
