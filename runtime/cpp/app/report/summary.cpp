#include "report/summary.h"

#include "system/terminal.h"

namespace edgeproof::app {
namespace {

void print_ms(const std::optional<double> &value) {
    if (value) {
        say(" %8.2f", *value);
    } else {
        say("        -");
    }
}

void print_latency(const PipelineResult &result) {
    say("latency, ms      mean");
    for (const auto &[name, quantile] : spec::percentiles) say(" %8s", std::string(name).c_str());
    say("      max\n");
    for (std::size_t i = 0; i < stage_names.size(); ++i) {
        const LatencySummary summary = result.latency_ms[i].summary();
        say("%-12s", std::string(stage_names[i]).c_str());
        print_ms(summary.mean_ms);
        for (const Percentile &percentile : summary.percentiles_ms) print_ms(percentile.value);
        print_ms(summary.max_ms);
        say("\n");
    }
}

}  // namespace

void print_gates(const std::vector<Gate> &gates) {
    for (const Gate &gate : gates) {
        say("%s  %s: %s\n", gate.passed() ? "ok  " : "FAIL", gate.name.c_str(), gate.what.c_str());
        for (const Measured &one : gate.measured)
            say("        %-15s %.6g%s\n", one.name.c_str(), one.value, one.passed() ? "" : "  out of bounds");
    }
}

void print_summary(const PipelineResult &result, const EngineInfo &engine) {
    say("%lld frames in = %lld classified + %lld dropped", static_cast<long long>(result.frames_in),
        static_cast<long long>(result.frames_classified), static_cast<long long>(result.frames_dropped()));
    if (result.frames_unhealthy > 0) say(" + %lld unhealthy", static_cast<long long>(result.frames_unhealthy));
    say(" + %lld failed", static_cast<long long>(result.failed.count()));
    if (result.elapsed_s > 0)
        say(", %.1f frames/s", static_cast<double>(result.frames_classified) / result.elapsed_s);
    say(" on %s %s\n", engine.name.c_str(), engine.version.c_str());
    if (result.frames_unknown > 0 || result.frames_unsure > 0)
        say("of these %lld unknown, %lld unsure\n", static_cast<long long>(result.frames_unknown),
            static_cast<long long>(result.frames_unsure));
    print_latency(result);
    if (result.judge)
        for (const std::string &line : result.judge->lines()) say("%s\n", line.c_str());
    if (!result.totals.empty()) say("%s\n", result.totals.c_str());
    for (const auto &[cause, frames] : result.left_out)
        warn("%lld frames left out: %s\n", static_cast<long long>(frames), cause.c_str());
    for (const std::string &skipped : result.skipped) warn("skipped %s\n", skipped.c_str());
    for (const std::string &failed : result.failed) warn("failed %s\n", failed.c_str());
}

}  // namespace edgeproof::app
