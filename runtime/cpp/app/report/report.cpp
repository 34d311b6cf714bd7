#include "report/report.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <opencv2/core.hpp>
#include <string_view>
#include <utility>
#include <variant>

#include "edgeproof/redact.h"
#include "edgeproof/spec.h"
#include "json_text.h"
#include "live/stop.h"
#include "sources/libav.h"
#include "system/host.h"

namespace edgeproof::app {
namespace {

using json::Array;
using json::Object;
using json::Value;

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &utc);
    return text;
}

std::string quoted(const std::string &argument) {
    constexpr const char *plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%_+=:,./-";
    if (!argument.empty() && argument.find_first_not_of(plain) == std::string::npos) return argument;
    std::string text = "'";
    for (const char c : argument) text += c == '\'' ? std::string("'\"'\"'") : std::string(1, c);
    return text + "'";
}

/// The command line as one would type it, secrets redacted.
std::string command_line(const std::vector<std::string> &arguments) {
    std::string text = "edgeproof-run";
    for (std::size_t i = 1; i < arguments.size(); ++i) text += " " + quoted(redact_address(arguments[i]));
    return text;
}

Value bundle_facts(const Bundle &bundle) {
    std::vector<std::string> names;
    for (const char *precision : {"fp32", "fp16", "int8", "int8-tensorrt"})
        if (const auto model = bundle.models.find(precision); model != bundle.models.end())
            names.push_back(model->second);
    for (const EngineEntry &engine : bundle.engines) names.push_back(engine.path);
    Array artifacts;
    for (const std::string &name : names) {
        const auto file = bundle.files.find(name);
        if (file == bundle.files.end()) continue;
        artifacts.push_back({Object{{"path", {name}},
                                    {"sha256", {file->second.sha256}},
                                    {"size_bytes", integer(static_cast<double>(file->second.size_bytes))}}});
    }
    return {Object{{"name", {bundle.name}},
                   {"manifest_sha256", {bundle.manifest_sha256}},
                   {"contract", {bundle.contract_summary()}},
                   {"artifacts", {artifacts}},
                   {"provenance", bundle.manifest.at("provenance")}}};
}

Value number_or_null(const std::optional<double> &value) { return value ? number(*value) : Value{}; }

Value latency_json(const LatencySummary &summary) {
    Object unsupported;
    Object document{{"count", integer(static_cast<double>(summary.count))}, {"mean", number_or_null(summary.mean_ms)}};
    for (const Percentile &percentile : summary.percentiles_ms) {
        document.emplace_back(percentile.name, number_or_null(percentile.value));
        if (!percentile.value) unsupported.emplace_back(percentile.name, Value{percentile.unsupported});
    }
    document.emplace_back("max", number_or_null(summary.max_ms));
    document.emplace_back("unsupported", Value{unsupported});
    document.emplace_back("sampled", integer(static_cast<double>(summary.sampled)));
    return {document};
}

Value gate_json(const Gate &gate) {
    Object measured;
    Object bound;
    for (const Measured &one : gate.measured) {
        measured.emplace_back(one.name, number(one.value));
        Object limits;
        if (one.at_most) limits.emplace_back("max", number(*one.at_most));
        if (one.at_least) limits.emplace_back("min", number(*one.at_least));
        if (!limits.empty()) bound.emplace_back(one.name, Value{limits});
    }
    return {Object{{"name", {gate.name}},
                   {"passed", {gate.passed()}},
                   {"what", {gate.what}},
                   {"measured", {measured}},
                   {"bound", {bound}}}};
}

Value count(std::int64_t value) { return integer(static_cast<double>(value)); }

Value distribution_json(const LatencyDistribution &distribution) {
    Array ms;
    Array share;
    for (const double value : distribution.ms) ms.push_back(number(value));
    for (const double value : distribution.share) share.push_back(number(value));
    return {Object{{"ms", {ms}}, {"share", {share}}}};
}

Value texts(const std::vector<std::string> &lines) {
    Array values;
    for (const std::string &line : lines) values.push_back({line});
    return {values};
}

/// A value with the secrets of all its texts redacted.
Value redacted(Value value) {
    if (auto *text = std::get_if<std::string>(&value.data)) *text = redact(*text);
    if (auto *items = std::get_if<Array>(&value.data))
        for (Value &item : *items) item = redacted(std::move(item));
    if (auto *members = std::get_if<Object>(&value.data))
        for (auto &member : *members) member.second = redacted(std::move(member.second));
    return value;
}

double seconds(std::int64_t ns) { return static_cast<double>(ns) / 1e9; }

Value change(const PipelineResult &result, StreamState state, std::int64_t steady_ns, const Value &reason = {}) {
    return {Object{{"state", {std::string(name_of(stream_state_names, state))}},
                   {"unix_s", number(unix_seconds(steady_ns))},
                   {"reason", reason},
                   {"at_s", number(seconds(steady_ns - result.began_ns))}}};
}

/// The causes that there were, each with its number of frames.
Value by_cause(const FramesByCause &frames) {
    Object causes;
    for (std::size_t i = 0; i < frames.size(); ++i)
        if (frames[i] > 0) causes.emplace_back(std::string(frame_health_names[i]), count(frames[i]));
    return {causes};
}

Value limits_json(const HealthRecord &health) {
    const HealthSettings &limits = health.limits;
    return {Object{{"damaged", {limits.damaged}},
                   {"frozen", count(limits.frozen)},
                   {"change", number(limits.change)},
                   {"black", number(limits.black)},
                   {"overexposed", number(limits.overexposed)},
                   {"covered", number(limits.covered)},
                   {"blurred", number(limits.blurred)},
                   {"classify", {health.classify}}}};
}

Value health_name(const HealthRecord &health) {
    return health.found ? Value{std::string(name_of(frame_health_names, *health.found))} : Value{};
}

Value health_s(const PipelineResult &result) {
    return result.health.found ? number(seconds(result.ended_ns - result.health.since_ns)) : Value{};
}

/// As `edgeproof_runtime.live.stream_health.health_section`.
Value health_section(const PipelineResult &result, const Source &source) {
    const HealthRecord &health = result.health;
    if (!health.judged) return {};
    return {Object{{"streams",
                    {Array{{Object{{"name", {source.name}},
                                   {"frames_in", count(result.frames_in)},
                                   {"left_out", by_cause(health.left_out)},
                                   {"classified", by_cause(health.classified)},
                                   {"at_the_end", health_name(health)},
                                   {"at_the_end_s", health_s(result)},
                                   {"limits", limits_json(health)}}}}}}}};
}

/// What `edgeproof_runtime.live.stream.StreamSnapshot` says of a stream that has ended.
Value stream_json(const PipelineResult &result, const Source &source, const std::string &policy) {
    const Value reason = stop_requested() ? Value{std::string("stopped")} : Value{};
    const HealthRecord &health = result.health;
    Array history{change(result, StreamState::connecting, result.began_ns)};
    if (result.first_ns) history.push_back(change(result, StreamState::live, *result.first_ns));
    for (const HealthRecord::Change &one : health.changes)
        history.push_back(change(result, StreamState::live, one.at_ns, {one.reason}));
    history.push_back(change(result, StreamState::ended, result.ended_ns, reason));
    const Value changes = count(static_cast<std::int64_t>(history.size()));
    const bool seen = result.frame_width > 0;
    Object left_out;
    for (const auto &[cause, frames] : result.left_out) left_out.emplace_back(cause, count(frames));
    return {Object{{"name", {source.name}},
                   {"state", {std::string(name_of(stream_state_names, StreamState::ended))}},
                   {"reason", reason},
                   {"since_unix_s", number(unix_seconds(result.ended_ns))},
                   {"policy", {policy}},
                   {"live", {source.live}},
                   {"width", seen ? count(result.frame_width) : Value{}},
                   {"height", seen ? count(result.frame_height) : Value{}},
                   {"fps", source.fps ? number(*source.fps) : Value{}},
                   {"frame_count", source.frame_count ? count(*source.frame_count) : Value{}},
                   {"counts",
                    {Object{{"frames_in", count(result.frames_in)},
                            {"decided", count(result.frames_classified)},
                            {"overtaken", count(result.frames_overtaken)},
                            {"stopped", count(result.frames_stopped)},
                            {"failed", count(result.failed.count())},
                            {"unhealthy", count(result.frames_unhealthy)}}}},
                   {"reconnections", count(0)},
                   {"last_frame_unix_s", result.first_ns ? number(unix_seconds(result.last_ns)) : Value{}},
                   {"history", {history}},
                   {"changes", changes},
                   {"state_s", number(0)},
                   {"silent_s", result.first_ns ? number(seconds(result.ended_ns - result.last_ns)) : Value{}},
                   {"left_out", {left_out}},
                   {"health", health_name(health)},
                   {"health_since_unix_s", health.found ? number(unix_seconds(health.since_ns)) : Value{}},
                   {"health_s", health_s(result)},
                   {"health_limits", health.judged ? limits_json(health) : Value{}},
                   {"unhealthy", by_cause(health.left_out)},
                   {"unhealthy_classified", by_cause(health.classified)},
                   {"skipped", texts(result.skipped)},
                   {"notes", texts(source.notes)}}};
}

}  // namespace

Report::Report(std::string kind, const std::vector<std::string> &command, const Bundle &bundle,
               const EngineInfo &engine, const std::string &precision)
    : kind_(std::move(kind)), command_(command_line(command)), created_(utc_now()), bundle_(bundle_facts(bundle)),
      settings_{{"bundle", {bundle.folder.string()}}, {"engine", {engine.name}}, {"precision", {precision}}},
      engine_(engine), precision_(precision) {
    Object packages{{"edgeproof", {std::string(EDGEPROOF_VERSION)}}, {"opencv", {std::string(cv::getVersionString())}}};
    if (ffmpeg() != nullptr) packages.emplace_back("ffmpeg", Value{ffmpeg()->version()});
    if (engine.name != "opencv") packages.emplace_back(engine.name, Value{engine.version});
    host_ = host_facts(packages);
    if (engine.threads) settings_.emplace_back("threads", integer(*engine.threads));
    for (const std::string &warning : host_warnings(host_)) warnings_.push_back({warning});
    for (const LeftOut &part : bundle.left_out) warnings_.push_back({part.note()});
    for (const std::string &one : engine.notes) warnings_.push_back({one});
}

void Report::add(const PipelineResult &result, const Source &source, const Options &options) {
    const std::string policy(name_of(policy_names, source.live ? Policy::latest_frame : Policy::every_frame));
    settings_.emplace_back("source", Value{redact_address(options.source)});
    settings_.emplace_back("policy", Value{policy});
    settings_.emplace_back("workers", count(1));
    settings_.emplace_back("max_batch", count(1));
    counts_ = {{"frames_in", count(result.frames_in)},
               {"frames_classified", count(result.frames_classified)},
               {"frames_dropped", count(result.frames_dropped())},
               {"frames_overtaken", count(result.frames_overtaken)},
               {"frames_unhealthy", count(result.frames_unhealthy)},
               {"frames_failed", count(result.failed.count())},
               {"files_skipped", count(static_cast<std::int64_t>(result.skipped.size()))}};
    if (options.unknown) {
        settings_.emplace_back("unknown", Value{options.unknown_text});
        counts_.emplace_back("frames_unknown", count(result.frames_unknown));
    }
    if (options.threshold) {
        settings_.emplace_back("threshold", number(*options.threshold));
        counts_.emplace_back("frames_unsure", count(result.frames_unsure));
    }
    for (std::size_t i = 0; i < stage_names.size(); ++i) {
        const LatencySummary summary = result.latency_ms[i].summary();
        if (summary.count == 0) continue;
        latency_ms_.emplace_back(stage_names[i], latency_json(summary));
        distribution_ms_.emplace_back(stage_names[i], distribution_json(result.latency_ms[i].distribution()));
        if (static_cast<Stage>(i) == Stage::inference) median_ms_ = summary.percentiles_ms.front().value;  // p50
    }
    if (result.elapsed_s > 0)
        throughput_fps_ = number(static_cast<double>(result.frames_classified) / result.elapsed_s);
    if (result.judge) sections_ = result.judge->sections();
    samples_ = result.samples.to_json();
    timeline_ = result.timeline.to_json();
    health_ = health_section(result, source);
    streams_.push_back(stream_json(result, source, policy));
    if (options.predictions) {
        sinks_.push_back({Object{{"name", {options.predictions->string()}},
                                 {"written", count(result.frames_classified)},
                                 {"dropped", count(0)},
                                 {"failed", count(0)},
                                 {"waiting", count(0)}}});
    }
    for (const std::string &one : source.notes) warnings_.push_back({one + "."});
    const std::string skipped = source.of_pictures ? "Skipped " : "";
    for (std::size_t i = 0; i < frame_health_names.size(); ++i) {
        const std::string cause(frame_health_names[i]);
        const auto told = [&](std::int64_t frames, const char *what) {
            if (frames > 0)
                warnings_.push_back({source.name + ": " + std::to_string(frames) + " " + cause + " frames " + what + "."});
        };
        told(result.health.left_out[i], "left out");
        told(result.health.classified[i], "classified all the same");
    }
    for (const auto &[cause, frames] : result.left_out)
        warnings_.push_back({source.name + ": " + std::to_string(frames) + " frames left out: " + cause + "."});
    for (const std::string &one : result.skipped) warnings_.push_back({skipped + one + "."});
    for (const std::string &one : result.failed) warnings_.push_back({"Skipped " + one + "."});
}

void Report::add(const std::vector<Gate> &gates, std::size_t golden_cases) {
    counts_.emplace_back("golden_cases", integer(static_cast<double>(golden_cases)));
    bool passed = true;
    for (const Gate &gate : gates) {
        gates_.push_back(gate_json(gate));
        passed = passed && gate.passed();
    }
    passed_ = {passed};
}

Value Report::to_json() const {
    Object engine{{"name", {engine_.name}},
                  {"version", {engine_.version}},
                  {"median_ms", number_or_null(median_ms_)},
                  {"passed", passed_},
                  {"chosen", {true}},
                  {"precision", {precision_}},
                  {"threads", engine_.threads ? integer(*engine_.threads) : Value{}}};
    Object details;
    for (const auto &[name, text] : engine_.details) details.emplace_back(name, Value{text});
    if (!details.empty()) engine.emplace_back("details", Value{details});
    Object measured{{"schema", {std::string(spec::report_schema)}},
                    {"edgeproof", {std::string(EDGEPROOF_VERSION)}},
                    {"passed", passed_},
                    {"kind", {kind_}},
                    {"command", {command_}},
                    {"host", host_},
                    {"created", {created_}},
                    {"bundle", bundle_},
                    {"settings", {settings_}},
                    {"counts", {counts_}},
                    {"latency_ms", {latency_ms_}},
                    {"distribution_ms", {distribution_ms_}},
                    {"throughput_fps", throughput_fps_},
                    {"gates", {gates_}},
                    {"engines", {Array{{engine}}}},
                    {"samples", samples_},
                    {"timeline", timeline_},
                    {"streams", {streams_}},
                    {"health", health_},
                    {"sinks", {sinks_}},
                    {"warnings", {warnings_}}};
    measured.insert(measured.end(), sections_.begin(), sections_.end());
    Object document;
    for (const std::string_view key : spec::report_keys) {
        const auto found = std::find_if(measured.begin(), measured.end(),
                                        [key](const auto &member) { return member.first == key; });
        // An absent key means null.
        if (found != measured.end() && !found->second.is_null()) document.push_back(*found);
    }
    return redacted(Value{document});
}

}  // namespace edgeproof::app
