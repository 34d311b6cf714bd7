#include <cstdio>
#include <cstdlib>
#include <exception>
#include <opencv2/core/utils/logger.hpp>

#include "edgeproof/bundle.h"
#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "edgeproof/redact.h"
#include "edgeproof/spec.h"
#include "engines/catalog.h"
#include "files.h"
#include "json_text.h"
#include "live/pipeline.h"
#include "options.h"
#include "report/report.h"
#include "report/summary.h"
#include "sources/opening.h"
#include "tasks/registry.h"
#include "verify/golden.h"

namespace edgeproof::app {
namespace {

/// Fail before the work, not after it, if an output cannot be written.
void check_outputs(const Options &options) {
    for (const auto &output : {options.predictions, options.json, options.grid})
        if (output) check_writable(*output, options.source);
    if (options.json && options.json == options.predictions)
        throw bad_input(options.json->string() + ": would be overwritten", "report and predictions in one file");
}

ExitCode run(const Options &options, const std::vector<std::string> &command) {
    check_outputs(options);
    const Bundle bundle = Bundle::open(options.bundle);
    task_of(bundle);  // an unknown task is refused before anything opens
    const std::string precision = options.precision.empty() ? bundle.base_precision() : options.precision;
    const ModelArtifact model{bundle, precision, options.threads};
    try_engines(options.engine, model);  // in a child process: before the source starts threads
    const std::shared_ptr<Source> source =
        options.source.empty() ? nullptr : open_source(options.source, options.label_by_folder, bands_of(bundle));
    const std::unique_ptr<Engine> engine = load_engine(options.engine, model);
    const EngineInfo info = engine->describe();
    if (options.sample) {
        sample(bundle, *engine, {*options.sample, options.seed, *options.grid});
        std::printf("%lld images of seed %llu on %s %s: %s\n", static_cast<long long>(*options.sample),
                    static_cast<unsigned long long>(options.seed), info.name.c_str(), info.version.c_str(),
                    options.grid->c_str());
        return ExitCode::ok;
    }
    Report report(options.verify ? "verify" : "run", command, bundle, info, precision);
    ExitCode code = ExitCode::ok;
    bool hangs = false;
    if (options.verify) {
        const std::vector<Gate> gates = verify(bundle, precision, *engine);
        print_gates(gates);
        report.add(gates, bundle.golden.size());
        for (const Gate &gate : gates)
            if (!gate.passed()) code = ExitCode::gate_failed;
    } else {
        const PipelineOptions run{options.predictions, options.max_frames, options.json.has_value()};
        const PipelineResult result = decide_all(bundle, *engine, source, run);
        print_summary(result, info);
        report.add(result, *source, options);
        hangs = result.source_hangs;
    }
    if (options.json) write_atomically(*options.json, to_text(report.to_json(), true) + "\n");
    if (hangs) {
        // A thread still uses what the end of `main` would destroy.
        std::fflush(nullptr);
        std::_Exit(static_cast<int>(code));
    }
    return code;
}

ExitCode guarded(int count, char **arguments) {
    try {
        const Options options = parse_options(count, arguments);
        if (options.help) std::printf("%s", usage().c_str());
        if (options.version) std::printf("edgeproof-run %s\n", EDGEPROOF_VERSION);
        if (options.help || options.version) return ExitCode::ok;
        // Errors are printed here; OpenCV's own lines name its source files.
        if (std::getenv("OPENCV_LOG_LEVEL") == nullptr)
            cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
        return run(options, {arguments, arguments + count});
    } catch (const Failure &failure) {
        std::fprintf(stderr, "%s\n", redact(failure.what()).c_str());
        return failure.code;
    } catch (const std::exception &error) {
        // Errors of the core, and exceptions of libraries on invalid input.
        std::fprintf(stderr, "%s\n", redact(error.what()).c_str());
        return ExitCode::bad_input;
    }
}

}  // namespace
}  // namespace edgeproof::app

int main(int count, char **arguments) {
    // Before an engine is loaded; what the user has set stays.
    for (const auto &variable : edgeproof::spec::telemetry_off) setenv(variable.name, variable.value, 0);
    return static_cast<int>(edgeproof::app::guarded(count, arguments));
}
