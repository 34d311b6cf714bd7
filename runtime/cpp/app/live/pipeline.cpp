#include "live/pipeline.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "live/inbox.h"
#include "live/stop.h"
#include "live/watchdog.h"
#include "report/predictions.h"
#include "system/terminal.h"
#include "tasks/registry.h"

namespace edgeproof::app {
namespace {

constexpr double status_interval_s = 0.125;

double seconds_between(std::int64_t begin_ns, std::int64_t end_ns) {
    return static_cast<double>(end_ns - begin_ns) / 1e9;
}

/// Seconds since the first frame was captured; this one may be the first.
double time_s(PipelineResult &result, std::int64_t captured_ns) {
    if (!result.first_ns) result.first_ns = captured_ns;
    result.last_ns = std::max(result.last_ns, captured_ns);
    return std::max(0.0, seconds_between(*result.first_ns, captured_ns));
}

void print_status(const PipelineResult &result, const Source &source, const Decided &decided) {
    const std::string total = source.frame_count ? "/" + std::to_string(*source.frame_count) : "";
    std::fputs("\r\033[K", stderr);
    note("frame %lld%s  %.1f fps  age %.1f ms  %s", static_cast<long long>(result.frames_classified), total.c_str(),
         static_cast<double>(result.frames_classified) / result.elapsed_s, decided.stages_ms.back(),
         decided.decision->headline().c_str());
}

class Run {
  public:
    Run(const Bundle &bundle, Engine &engine, const Source &source, const PipelineOptions &options)
        : bundle_(bundle), source_(source), options_(options), work_(bundle, engine, options.unknown),
          // Lines that are printed and a line that is overwritten would fight for the terminal.
          terminal_(::isatty(STDERR_FILENO) == 1 && !source.of_pictures) {
        if (options.predictions) predictions_.emplace(*options.predictions, options.rotation);
        // Loading it takes a quarter of a second, which is no frame's latency.
        if (options.samples) media();
        result.began_ns = now_ns();
    }

    void drop(std::int64_t captured_ns, std::int64_t &counted, FrameState state = FrameState::dropped) {
        ++counted;
        result.timeline.add(time_s(result, captured_ns), std::nullopt, state);
    }

    /// Count what the inbox left out since the last call.
    void drop_all(Inbox &inbox) {
        for (const std::int64_t captured_ns : inbox.unhealthy())
            drop(captured_ns, result.frames_unhealthy, FrameState::unhealthy);
        for (const std::int64_t captured_ns : inbox.overtaken()) drop(captured_ns, result.frames_overtaken);
    }

    void decide(const Captured &frame) {
        result.frame_width = frame.image.cols;
        result.frame_height = frame.image.rows;
        const double at_s = time_s(result, frame.captured_ns);
        Decided decided;
        try {
            decided = work_(frame);
        } catch (const Error &error) {
            result.failed.add(frame.name + ": " + error.problem);
            result.timeline.add(at_s, std::nullopt, FrameState::failed);
            return;
        }
        ++result.frames_classified;
        for (std::size_t i = 0; i < stage_names.size(); ++i) result.latency_ms[i].add(decided.stages_ms[i]);
        const double end_to_end_ms = decided.stages_ms[static_cast<std::size_t>(Stage::end_to_end)];
        result.timeline.add(at_s, end_to_end_ms, FrameState::classified);
        result.frames_unknown += decided.decision->unknown() ? 1 : 0;
        result.frames_unsure += is_unsure(*decided.decision) ? 1 : 0;
        record(frame, decided);
        result.elapsed_s = seconds_between(result.began_ns, now_ns());
        if (source_.of_pictures)
            say("%s: %s%s\n", frame.name.c_str(), is_unsure(*decided.decision) ? "unsure: " : "",
                decided.decision->headline().c_str());
        if (terminal_ && result.elapsed_s >= next_status_s_) {
            next_status_s_ = result.elapsed_s + status_interval_s;
            print_status(result, source_, decided);
        }
    }

    void end() {
        if (terminal_) std::fprintf(stderr, "\r\033[K");
        result.totals = work_.totals();
    }

    PipelineResult result;

  private:
    /// Unknown ones say so themselves; tasks without a probability have their own threshold.
    bool is_unsure(const Decision &decision) const {
        const std::optional<double> probability = decision.probability();
        return options_.threshold && probability && !(*probability >= *options_.threshold);
    }

    void record(const Captured &frame, const Decided &decided) {
        const Decision &decision = *decided.decision;
        if (predictions_) {
            const std::optional<bool> sure =
                options_.threshold ? std::optional<bool>(!decision.unknown() && !is_unsure(decision)) : std::nullopt;
            predictions_->write(source_.name, frame, decided, sure);
        }
        std::optional<std::string> truth;
        if (frame.label) {
            if (!result.judge) result.judge = judge_of(bundle_);
            truth = result.judge->add(decision, *frame.label, frame.name);
        }
        if (options_.samples && result.samples.wants()) {
            result.samples.keep({frame.name, media().thumbnail(frame.image, decision.heat_map(frame.image)),
                                 decision.label(), decision.probability(), truth});
        }
    }

    const Bundle &bundle_;
    const Source &source_;
    const PipelineOptions &options_;
    Worker work_;
    std::optional<Predictions> predictions_;
    bool terminal_;
    double next_status_s_ = 0.0;
};

}  // namespace

PipelineResult decide_all(const Bundle &bundle, Engine &engine, const std::shared_ptr<Source> &source,
                          const PipelineOptions &options) {
    Run run(bundle, engine, *source, options);
    PipelineResult &result = run.result;
    stop_on_signals();
    Inbox inbox(source, options.max_frames, StreamHealth(options.health, options.classify_unhealthy, *source),
                Pace(options.every_s, options.on_motion));
    {
        std::atomic<std::int64_t> decided{0};
        const Watchdog watchdog([&inbox, &decided] { return decided + inbox.left_out(); });
        while (const std::optional<Captured> frame = inbox.next()) {
            run.drop_all(inbox);
            if (!frame->image.empty()) run.decide(*frame);
            decided = result.frames_classified;
        }
    }
    run.end();
    result.source_hangs = !inbox.end();
    run.drop_all(inbox);
    result.health = inbox.health();
    result.left_out = inbox.paced_out();
    if (const auto left_ns = inbox.left_ns()) run.drop(*left_ns, result.frames_stopped);
    result.frames_in = inbox.frames_in();
    result.ended_ns = now_ns();
    if (result.source_hangs) {
        result.skipped.push_back(source->name + ": hangs in its driver, and was left there");
    } else {
        result.skipped = source->skipped;
        for (const auto &[cause, frames] : source->left_out) result.left_out[cause] += frames;
    }
    if (result.frames_in == 0 && !stop_requested()) {
        throw bad_input(source->name + " gave no frame", result.skipped.empty() ? "nothing" : result.skipped.front(),
                        "at least one frame");
    }
    return std::move(run.result);
}

}  // namespace edgeproof::app
