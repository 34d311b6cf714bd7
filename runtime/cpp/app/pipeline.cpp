#include "pipeline.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <thread>

#include "edgeproof/error.h"
#include "edgeproof/postprocess.h"
#include "edgeproof/preprocess.h"
#include "failure.h"
#include "json_text.h"
#include "picture.h"

namespace edgeproof::app {
namespace {

constexpr std::size_t classes_listed = 5;
constexpr double status_interval_s = 0.125;
constexpr auto stop_check_interval = std::chrono::milliseconds(100);

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not take a lock");

void request_stop(int signal_number) {
    stop_requested = true;
    std::signal(signal_number, SIG_DFL);  // a second one ends the process
}

/// Where the pipeline's frames come from: the source itself, or a thread that keeps a live source's newest frame.
class Feed {
  public:
    Feed(Source &source, std::optional<std::int64_t> max_frames) : source_(source), max_frames_(max_frames) {
        // A camera's driver would otherwise hand out frames that waited in its queue while the model worked.
        if (source.live) thread_ = std::thread([this] { capture_all(); });
    }

    ~Feed() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }

    Feed(const Feed &) = delete;
    Feed &operator=(const Feed &) = delete;

    std::optional<Captured> next() {
        if (!thread_.joinable()) return stopped() ? std::nullopt : capture();
        std::unique_lock<std::mutex> lock(mutex_);
        while (!newest_ && !ended_ && !stop_requested) arrived_.wait_for(lock, stop_check_interval);
        if (error_) std::rethrow_exception(error_);
        std::optional<Captured> frame;
        frame.swap(newest_);
        return frame;
    }

    /// Frames that arrived, and those of them that a newer one replaced; final once the source's thread has ended.
    void finish(PipelineResult &result) {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
        result.frames_in = frames_in_;
        result.frames_dropped = dropped_ + (newest_ ? 1 : 0);
    }

  private:
    bool stopped() const { return stop_ || stop_requested || (max_frames_ && frames_in_ >= *max_frames_); }

    std::optional<Captured> capture() {
        std::optional<Captured> frame = source_.next();
        if (frame) ++frames_in_;
        return frame;
    }

    void capture_all() {
        try {
            while (!stopped()) {
                std::optional<Captured> frame = capture();
                if (!frame) break;
                const std::lock_guard<std::mutex> lock(mutex_);
                dropped_ += newest_ ? 1 : 0;
                newest_ = std::move(frame);
                arrived_.notify_one();
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            error_ = std::current_exception();
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        ended_ = true;
        arrived_.notify_one();
    }

    Source &source_;
    std::optional<std::int64_t> max_frames_;
    std::int64_t frames_in_ = 0;
    std::int64_t dropped_ = 0;
    std::optional<Captured> newest_;
    std::exception_ptr error_;
    bool ended_ = false;
    std::atomic<bool> stop_{false};
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::thread thread_;
};

double ms_between(std::int64_t begin_ns, std::int64_t end_ns) { return static_cast<double>(end_ns - begin_ns) / 1e6; }

/// What the task reconstruct says of a frame; a score that is no number is never good.
struct Anomaly {
    float score;
    double threshold;
    bool defect() const { return !(static_cast<double>(score) <= threshold); }
};

struct Decision {
    std::vector<Scored> top;         ///< of the task classify
    std::optional<Anomaly> anomaly;  ///< of the task reconstruct
    std::array<double, stage_names.size()> stages_ms{};
};

/// JSON lines, flushed one by one, so that they can be followed and survive a crash whole.
class Predictions {
  public:
    Predictions(const std::filesystem::path &path, const Bundle &bundle)
        : path_(path), bundle_(bundle), file_(path, std::ios::binary) {
        if (!file_) throw bad_input("cannot write predictions to " + path.string());
        // Frames carry the steady clock, which has no date.
        const auto unix_now = std::chrono::system_clock::now().time_since_epoch();
        unix_offset_ns_ = std::chrono::duration_cast<std::chrono::nanoseconds>(unix_now).count() - now_ns();
    }

    void write(const std::string &stream, const Captured &frame, const Decision &decision) {
        json::Object stages;
        for (std::size_t i = 0; i < stage_names.size(); ++i)
            stages.emplace_back(stage_names[i], number(decision.stages_ms[i]));
        const json::Object line{
            {"stream", {stream}},
            {"index", integer(static_cast<double>(frame.index))},
            {"name", {frame.name}},
            {"captured_unix_s", number(static_cast<double>(frame.captured_ns + unix_offset_ns_) / 1e9)},
            {"label", {}},
            decision.anomaly ? std::pair<std::string, json::Value>{"anomaly", anomaly_json(*decision.anomaly)}
                             : std::pair<std::string, json::Value>{"top", top_json(decision.top)},
            {"stages_ms", {stages}}};
        if (!(file_ << to_text({line}) << '\n' << std::flush))
            throw bad_input("cannot write predictions to " + path_.string());
    }

  private:
    json::Value top_json(const std::vector<Scored> &top) const {
        json::Array entries;
        for (const Scored &scored : top) {
            entries.push_back({json::Object{{"label", {bundle_.label_of(scored.index)}},
                                            {"probability", number(static_cast<double>(scored.score))}}});
        }
        return {entries};
    }

    static json::Value anomaly_json(const Anomaly &anomaly) {
        const auto score = static_cast<double>(anomaly.score);
        return {json::Object{{"score", std::isfinite(score) ? number(score) : json::Value{}},
                             {"threshold", number(anomaly.threshold)},
                             {"defect", {anomaly.defect()}}}};
    }

    std::filesystem::path path_;
    const Bundle &bundle_;
    std::ofstream file_;
    std::int64_t unix_offset_ns_ = 0;
};

class Decider {
  public:
    Decider(const Bundle &bundle, Engine &engine)
        : engine_(engine), preprocess_(bundle.contract), probabilities_(bundle.output_size()),
          logits_(bundle.outputs.front().activation == "none"), threshold_(bundle.anomaly_threshold) {}

    Decision operator()(const Captured &frame) {
        const std::int64_t begin = now_ns();
        preprocess_(view_of(frame.image), engine_.input());
        const std::int64_t prepared = now_ns();
        engine_.run();
        const std::int64_t inferred = now_ns();
        Decision decision;
        if (threshold_) {
            decision.anomaly = Anomaly{*engine_.output(2), *threshold_};  // after reconstruction and heat map
        } else {
            std::copy_n(engine_.output(0), probabilities_.size(), probabilities_.begin());
            if (logits_) softmax(probabilities_.data(), probabilities_.size());
            decision.top = top_k(probabilities_.data(), probabilities_.size(), classes_listed);
        }
        const std::int64_t end = now_ns();
        const double age_ms = ms_between(frame.captured_ns, end);
        decision.stages_ms = {frame.capture_ms,
                              frame.decode_ms,
                              ms_between(begin, prepared),
                              ms_between(prepared, inferred),
                              ms_between(inferred, end),
                              age_ms + frame.capture_ms,
                              age_ms};
        return decision;
    }

  private:
    Engine &engine_;
    Preprocessor preprocess_;
    std::vector<float> probabilities_;
    bool logits_;
    std::optional<double> threshold_;
};

void print_status(const PipelineResult &result, const Source &source, const Decision &decision, const Bundle &bundle) {
    const std::string total = source.frame_count ? "/" + std::to_string(*source.frame_count) : "";
    std::fprintf(stderr, "\r\033[Kframe %lld%s  %.1f fps  age %.1f ms  ",
                 static_cast<long long>(result.frames_classified), total.c_str(),
                 static_cast<double>(result.frames_classified) / result.elapsed_s, decision.stages_ms.back());
    if (decision.anomaly) {
        std::fprintf(stderr, "%s %.3g (limit %.3g)", decision.anomaly->defect() ? "defect" : "good",
                     static_cast<double>(decision.anomaly->score), decision.anomaly->threshold);
        return;
    }
    const Scored &first = decision.top.front();
    std::fprintf(stderr, "%s %.0f%%", bundle.label_of(first.index).c_str(), 100.0 * static_cast<double>(first.score));
}

}  // namespace

PipelineResult decide_all(const Bundle &bundle, Engine &engine, Source &source, const PipelineOptions &options) {
    if (bundle.latent) {
        throw bad_input("this bundle makes pictures and looks at none", "task generate", "classify or reconstruct",
                        "edgeproof-run BUNDLE --sample 64 --grid out.png");
    }
    std::optional<Predictions> predictions;
    if (options.predictions) predictions.emplace(*options.predictions, bundle);
    Decider decide(bundle, engine);
    PipelineResult result;
    std::signal(SIGINT, request_stop);
    std::signal(SIGTERM, request_stop);
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    const std::int64_t begin = now_ns();
    double next_status_s = 0.0;
    Feed feed(source, options.max_frames);
    while (const std::optional<Captured> frame = feed.next()) {
        Decision decision;
        try {
            decision = decide(*frame);
        } catch (const Error &error) {
            result.failed.push_back(frame->name + ": " + error.problem);
            continue;
        }
        ++result.frames_classified;
        result.defects += decision.anomaly && decision.anomaly->defect() ? 1 : 0;
        for (std::size_t i = 0; i < stage_names.size(); ++i) result.latency_ms[i].add(decision.stages_ms[i]);
        if (predictions) predictions->write(source.name, *frame, decision);
        result.elapsed_s = ms_between(begin, now_ns()) / 1e3;
        if (terminal && result.elapsed_s >= next_status_s) {
            next_status_s = result.elapsed_s + status_interval_s;
            print_status(result, source, decision, bundle);
        }
    }
    if (terminal) std::fprintf(stderr, "\r\033[K");
    feed.finish(result);
    if (result.frames_in == 0 && !stop_requested) {
        throw bad_input(source.name + " gave no frame", source.skipped.empty() ? "nothing" : source.skipped.front(),
                        "at least one frame");
    }
    return result;
}

}  // namespace edgeproof::app
