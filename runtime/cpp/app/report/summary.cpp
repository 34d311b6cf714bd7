#include "report/summary.h"

#include <cstdio>

namespace edgeproof::app {
namespace {

void print_ms(const std::optional<double> &value) {
    if (value) {
        std::printf(" %8.2f", *value);
    } else {
        std::printf("        -");
    }
}

void print_latency(const PipelineResult &result) {
    std::printf("latency, ms      mean");
    for (const auto &[name, quantile] : spec::percentiles) std::printf(" %8s", std::string(name).c_str());
    std::printf("      max\n");
    for (std::size_t i = 0; i < stage_names.size(); ++i) {
        const LatencySummary summary = result.latency_ms[i].summary();
        std::printf("%-12s", std::string(stage_names[i]).c_str());
        print_ms(summary.mean_ms);
        for (const Percentile &percentile : summary.percentiles_ms) print_ms(percentile.value);
        print_ms(summary.max_ms);
        std::printf("\n");
    }
}

}  // namespace

void print_gates(const std::vector<Gate> &gates) {
    for (const Gate &gate : gates) {
        std::printf("%s  %s: %s\n", gate.passed() ? "ok  " : "FAIL", gate.name.c_str(), gate.what.c_str());
        for (const Measured &one : gate.measured)
            std::printf("        %-15s %.6g%s\n", one.name.c_str(), one.value, one.passed() ? "" : "  out of bounds");
    }
}

void print_summary(const PipelineResult &result, const EngineInfo &engine) {
    std::printf("%lld frames in = %lld classified + %lld dropped + %zu failed",
                static_cast<long long>(result.frames_in), static_cast<long long>(result.frames_classified),
                static_cast<long long>(result.frames_dropped()), result.failed.size());
    if (result.elapsed_s > 0)
        std::printf(", %.1f frames/s", static_cast<double>(result.frames_classified) / result.elapsed_s);
    std::printf(" on %s %s\n", engine.name.c_str(), engine.version.c_str());
    print_latency(result);
    if (result.judge)
        for (const std::string &line : result.judge->lines()) std::printf("%s\n", line.c_str());
    if (!result.totals.empty()) std::printf("%s\n", result.totals.c_str());
    for (const std::string &skipped : result.skipped) std::fprintf(stderr, "skipped %s\n", skipped.c_str());
    for (const std::string &failed : result.failed) std::fprintf(stderr, "failed %s\n", failed.c_str());
}

}  // namespace edgeproof::app
