#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/bundle.h"
#include "edgeproof/latency.h"
#include "engines/base.h"
#include "live/health.h"
#include "live/newest.h"
#include "live/timeline.h"
#include "live/worker.h"
#include "report/growing.h"
#include "report/samples.h"
#include "sources/base.h"
#include "tasks/record.h"

namespace edgeproof::app {

struct PipelineOptions {
    std::optional<std::filesystem::path> predictions;  ///< JSON lines, one a frame
    Rotation rotation;                                 ///< of predictions
    std::optional<std::int64_t> max_frames;
    bool samples = false;  ///< keep thumbnails
    HealthSettings health;
    std::string classify_unhealthy;  ///< as it was given, for the report
    std::optional<double> threshold;     ///< probability below which a prediction is unsure
    std::optional<UnknownRule> unknown;  ///< when a frame shows none of the classes
    std::optional<double> every_s;   ///< see `Pace`
    std::optional<double> on_motion;
};

/// What a run did and measured. Times are of the steady clock, in nanoseconds.
struct PipelineResult {
    std::array<LatencyRecorder, stage_names.size()> latency_ms;
    Timeline timeline;
    Samples samples;
    std::unique_ptr<Judge> judge;  ///< once a frame was labelled
    std::int64_t frames_in = 0;
    std::int64_t frames_classified = 0;
    std::int64_t frames_overtaken = 0;  ///< replaced by a newer one
    std::int64_t frames_unhealthy = 0;  ///< left out
    std::int64_t frames_unknown = 0;    ///< of the classified ones, those that a rule calls unknown
    std::int64_t frames_unsure = 0;     ///< and those below the threshold
    HealthRecord health;
    std::map<std::string, std::int64_t> left_out;  ///< frames that were not asked for, by cause; they count nowhere else
    std::int64_t frames_stopped = 0;    ///< left when the run ended
    std::string totals;                 ///< all decisions in one line for people; empty where the task counts nothing
    Newest failed;                      ///< frames that no contract can be applied to, each with its reason
    std::vector<std::string> skipped;   ///< what the source could not give, each with its reason
    std::int64_t began_ns = 0;
    std::optional<std::int64_t> first_ns;  ///< when the first frame that anybody looked at was captured
    std::int64_t last_ns = 0;              ///< and the last
    std::int64_t ended_ns = 0;
    std::int64_t frame_width = 0;  ///< of the last frame, pixels
    std::int64_t frame_height = 0;
    double elapsed_s = 0.0;
    bool source_hangs = false;  ///< it is still being read, by a thread that nobody waits for any more

    std::int64_t frames_dropped() const { return frames_overtaken + frames_stopped; }
};

/// Decide about a source's frames, as the bundle's task does, until it ends, or SIGINT or SIGTERM arrives. Every frame
/// of a file is decided; of a live source always the newest, and the frames that it overtook are counted as dropped. A
/// status line goes to stderr where that is a terminal, what each image of a folder shows to stdout. Throws
/// `Failure`: the bundle takes no frames, the source gave none, a label is not the model's, the engine failed, a file
/// cannot be written.
PipelineResult decide_all(const Bundle &bundle, Engine &engine, const std::shared_ptr<Source> &source,
                          const PipelineOptions &options);

}  // namespace edgeproof::app
