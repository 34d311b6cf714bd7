#include <cstdio>
#include <cstdlib>
#include <exception>
#include <opencv2/core/utils/logger.hpp>

#include "bundle.h"
#include "edgeproof/error.h"
#include "engine.h"
#include "failure.h"
#include "files.h"
#include "generate.h"
#include "json_text.h"
#include "options.h"
#include "pipeline.h"
#include "report.h"
#include "source.h"
#include "verify.h"

namespace edgeproof::app {
namespace {

void print_gates(const std::vector<Gate> &gates) {
    for (const Gate &gate : gates) {
        std::printf("%s  %s: %s\n", gate.passed() ? "ok  " : "FAIL", gate.name.c_str(), gate.what.c_str());
        for (const Measured &one : gate.measured)
            std::printf("        %-15s %.6g%s\n", one.name.c_str(), one.value, one.passed() ? "" : "  out of bounds");
    }
}

void print_summary(const PipelineResult &result, const Source &source, const EngineInfo &engine) {
    std::printf("%lld frames in = %lld classified + %lld dropped + %zu failed",
                static_cast<long long>(result.frames_in), static_cast<long long>(result.frames_classified),
                static_cast<long long>(result.frames_dropped), result.failed.size());
    if (result.elapsed_s > 0)
        std::printf(", %.1f frames/s", static_cast<double>(result.frames_classified) / result.elapsed_s);
    std::printf(" on %s %s\n", engine.name.c_str(), engine.version.c_str());
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
    for (const std::string &skipped : source.skipped) std::fprintf(stderr, "skipped %s\n", skipped.c_str());
    for (const std::string &failed : result.failed) std::fprintf(stderr, "failed %s\n", failed.c_str());
}

ExitCode run(const Options &options, const std::vector<std::string> &command) {
    const Bundle bundle = Bundle::open(options.bundle);
    const std::unique_ptr<Source> source = options.source.empty() ? nullptr : open_source(options.source);
    const std::unique_ptr<Engine> engine = load_engine(options.engine, {bundle, options.precision, options.threads});
    const EngineInfo info = engine->describe();
    if (options.sample) {
        sample(bundle, *engine, {*options.sample, options.seed, *options.grid});
        std::printf("%lld pictures of seed %llu on %s %s: %s\n", static_cast<long long>(*options.sample),
                    static_cast<unsigned long long>(options.seed), info.name.c_str(), info.version.c_str(),
                    options.grid->c_str());
        return ExitCode::ok;
    }
    Report report(options.verify ? "verify" : "run", command, bundle, info, options.precision);
    ExitCode code = ExitCode::ok;
    if (options.verify) {
        const std::vector<Gate> gates = verify(bundle, options.precision, *engine);
        print_gates(gates);
        report.add(gates, bundle.golden.size());
        for (const Gate &gate : gates)
            if (!gate.passed()) code = ExitCode::gate_failed;
    } else {
        const PipelineResult result = decide_all(bundle, *engine, *source, {options.predictions, options.max_frames});
        print_summary(result, *source, info);
        if (bundle.anomaly_threshold) {
            std::printf("%lld defects, %lld good\n", static_cast<long long>(result.defects),
                        static_cast<long long>(result.frames_classified - result.defects));
        }
        report.add(result, *source);
    }
    if (options.json) write_atomically(*options.json, to_text(report.to_json(), true) + "\n");
    return code;
}

ExitCode guarded(int count, char **arguments) {
    try {
        const Options options = parse_options(count, arguments);
        if (options.help) std::printf("%s", usage().c_str());
        if (options.version) std::printf("edgeproof-run %s\n", EDGEPROOF_VERSION);
        if (options.help || options.version) return ExitCode::ok;
        // What goes wrong is said here; OpenCV's own lines name its source files.
        if (std::getenv("OPENCV_LOG_LEVEL") == nullptr)
            cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
        return run(options, {arguments, arguments + count});
    } catch (const Failure &failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return failure.code;
    } catch (const std::exception &error) {
        // The core's own errors and what libraries throw on input that they should have refused.
        std::fprintf(stderr, "%s\n", error.what());
        return ExitCode::bad_input;
    }
}

}  // namespace
}  // namespace edgeproof::app

int main(int count, char **arguments) { return static_cast<int>(edgeproof::app::guarded(count, arguments)); }
