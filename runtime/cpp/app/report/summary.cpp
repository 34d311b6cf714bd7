#include "report/summary.h"

#include <cstdio>

namespace edgeproof::app {
namespace {

void print_latency(const PipelineResult &result) {
    std::printf("latency, ms      mean      p50      p90      p99      max\n");
    for (std::size_t i = 0; i < stage_names.size(); ++i) {
        const LatencySummary summary = result.latency_ms[i].summary();
        std::printf("%-12s", stage_names[i]);
        for (const auto &value : {summary.mean_ms, summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms}) {
            if (value) {
                std::printf(" %8.2f", *value);
            } else {
                std::printf("        -");
            }
        }
        std::printf("\n");
    }
}

void print_judgement(const Judge &judge) {
    if (const AccuracyMeter *accuracy = judge.accuracy()) {
        const auto [low, high] = accuracy->ci95();
        std::printf("top-1 %.2f %%, 95 %% interval %.2f to %.2f %%, n = %lld\n", 100 * accuracy->top1(), 100 * low,
                    100 * high, static_cast<long long>(accuracy->n()));
    }
    if (const AnomalyMeter *anomaly = judge.anomaly()) {
        const json::Value found = anomaly->to_json();
        for (const json::Value &kind : found.at("kinds").array()) {
            std::printf("%s: %d labelled, ", kind.at("kind").string().c_str(), kind.at("n").integer());
            if (!kind.at("auroc").is_null()) std::printf("AUROC %.4f, ", kind.at("auroc").number());
            std::printf("%.0f %% detected\n", 100 * kind.at("detected").number());
        }
        if (!found.at("false_alarms").is_null())
            std::printf("good: %d labelled, %.0f %% false alarms\n", found.at("good_n").integer(),
                        100 * found.at("false_alarms").number());
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
    if (result.judge) print_judgement(*result.judge);
    for (const std::string &skipped : result.skipped) std::fprintf(stderr, "skipped %s\n", skipped.c_str());
    for (const std::string &failed : result.failed) std::fprintf(stderr, "failed %s\n", failed.c_str());
}

}  // namespace edgeproof::app
