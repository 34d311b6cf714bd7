#include "report.h"

#include <chrono>
#include <ctime>
#include <opencv2/core.hpp>
#include <regex>

#include "host.h"
#include "json_text.h"

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
    static const std::regex plain("[A-Za-z0-9@%_+=:,./-]+");
    if (std::regex_match(argument, plain)) return argument;
    return "'" + std::regex_replace(argument, std::regex("'"), "'\"'\"'") + "'";
}

/// The command line as one would type it, passwords in addresses masked.
std::string command_line(const std::vector<std::string> &arguments) {
    std::string text = "edgeproof-run";
    for (std::size_t i = 1; i < arguments.size(); ++i) text += " " + quoted(arguments[i]);
    return std::regex_replace(text, std::regex("([A-Za-z0-9_]+://[^\\s:/@]*):[^\\s/]*@"), "$1:***@");
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
                   {"provenance", bundle.provenance}}};
}

Value number_or_null(const std::optional<double> &value) { return value ? number(*value) : Value{}; }

Value latency_json(const LatencySummary &summary) {
    const struct {
        const char *name;
        double p;
        const std::optional<double> &value;
    } percentiles[] = {{"p50", 0.5, summary.p50_ms}, {"p90", 0.9, summary.p90_ms}, {"p99", 0.99, summary.p99_ms}};
    Object unsupported;
    Object document{{"count", integer(static_cast<double>(summary.count))}, {"mean", number_or_null(summary.mean_ms)}};
    for (const auto &[name, p, value] : percentiles) {
        document.emplace_back(name, number_or_null(value));
        if (value) continue;
        unsupported.emplace_back(
            name, Value{std::to_string(summary.sampled) + " frame" + (summary.sampled > 1 ? "s" : "") + " measured, " +
                        name + " needs " + std::to_string(samples_needed(p))});
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

}  // namespace

Report::Report(std::string kind, const std::vector<std::string> &command, const Bundle &bundle,
               const EngineInfo &engine, const std::string &precision)
    : kind_(std::move(kind)), command_(command_line(command)), created_(utc_now()),
      bundle_(bundle_facts(bundle)), settings_{{"bundle", {bundle.folder.string()}},
                                               {"engine", {engine.name}},
                                               {"precision", {precision}}},
      engine_(engine), precision_(precision) {
    Object packages{{"edgeproof", {std::string(EDGEPROOF_VERSION)}}, {"opencv", {std::string(cv::getVersionString())}}};
    if (engine.name != "opencv") packages.emplace_back(engine.name, Value{engine.version});
    host_ = host_facts(packages);
    if (engine.threads) settings_.emplace_back("threads", integer(*engine.threads));
    if (host_.at("os").at("virtualized").boolean()) {
        warnings_.push_back({std::string(
            "A virtual machine: neighbours can take CPU time, so latencies vary more than on the bare device.")});
    }
}

void Report::add(const PipelineResult &result, const Source &source) {
    settings_.emplace_back("source", Value{source.name});
    settings_.emplace_back("policy", Value{std::string(source.live ? "latest-frame" : "every-frame")});
    const auto count = [this](const char *name, std::size_t value) {
        counts_.emplace_back(name, integer(static_cast<double>(value)));
    };
    count("frames_in", static_cast<std::size_t>(result.frames_in));
    count("frames_classified", static_cast<std::size_t>(result.frames_classified));
    count("frames_dropped", static_cast<std::size_t>(result.frames_dropped));
    count("frames_failed", result.failed.size());
    count("files_skipped", source.skipped.size());
    for (std::size_t i = 0; i < stage_names.size(); ++i) {
        const LatencySummary summary = result.latency_ms[i].summary();
        if (summary.count > 0) latency_ms_.emplace_back(stage_names[i], latency_json(summary));
    }
    if (result.elapsed_s > 0)
        throughput_fps_ = number(static_cast<double>(result.frames_classified) / result.elapsed_s);
    for (const std::string &one : source.skipped) warnings_.push_back({"Skipped: " + one});
    for (const std::string &one : result.failed) warnings_.push_back({"Failed: " + one});
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
    const Object engine{{"name", {engine_.name}},
                        {"version", {engine_.version}},
                        {"median_ms", {}},
                        {"passed", passed_},
                        {"reason", {}},
                        {"chosen", {true}},
                        {"precision", {precision_}},
                        {"threads", engine_.threads ? integer(*engine_.threads) : Value{}}};
    return {Object{{"schema", {std::string("edgeproof.report/1")}},
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
                   {"distribution_ms", {Object{}}},
                   {"throughput_fps", throughput_fps_},
                   {"accuracy", {}},
                   {"gates", {gates_}},
                   {"engines", {Array{{engine}}}},
                   {"samples", {Array{}}},
                   {"timeline", {}},
                   {"warnings", {warnings_}}}};
}

}  // namespace edgeproof::app
