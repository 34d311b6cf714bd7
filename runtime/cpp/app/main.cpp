#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
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
#include "signing/signing.h"
#include "sources/libav.h"
#include "sources/opening.h"
#include "system/outputs.h"
#include "system/terminal.h"
#include "tasks/registry.h"
#include "verify/golden.h"

namespace edgeproof::app {
namespace {

/// What was printed must have arrived.
ExitCode finished(ExitCode code) {
    try {
        check_standard_output();
    } catch (const Failure &failure) {
        fail("%s\n", failure.what());
        return code == ExitCode::ok ? failure.code : code;
    }
    return code;
}

ExitCode run(const Options &options, const std::vector<std::string> &command) {
    if (check_outputs(options)) results_on_stderr();
    const Bundle bundle = open_trusted(options.bundle, options.trust);
    for (const LeftOut &part : bundle.left_out) warn("note: %s\n", part.note().c_str());
    task_of(bundle);  // an unknown task is refused before anything opens
    const std::string precision = options.precision.empty() ? bundle.base_precision() : options.precision;
    const ModelArtifact model{bundle, precision, options.threads};
    try_engines(options.engine, model);  // in a child process: before the source starts threads
    const std::shared_ptr<Source> source =
        options.source.empty() ? nullptr : open_source(options.source, options.label_by_folder, bands_of(bundle),
                                                       options.source_options);
    if (source)
        for (const std::string &one : source->notes) warn("note: %s\n", one.c_str());
    const std::unique_ptr<Engine> engine = load_engine(options.engine, model);
    const EngineInfo info = engine->describe();
    for (const std::string &one : info.notes) warn("note: %s\n", one.c_str());
    if (options.sample) {
        sample(bundle, *engine, {*options.sample, options.seed, *options.grid});
        say("%lld images of seed %llu on %s %s: %s\n", static_cast<long long>(*options.sample),
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
        const PipelineOptions run{options.predictions, options.rotation, options.max_frames,
                                  options.json.has_value(),
                                  parse_health(options.health, options.classify_unhealthy),
                                  options.classify_unhealthy,
                                  options.threshold,
                                  options.unknown,
                                  options.source_options.every_s,
                                  options.source_options.on_motion};
        const PipelineResult result = decide_all(bundle, *engine, source, run);
        print_summary(result, info);
        report.add(result, *source, options);
        hangs = result.source_hangs;
    }
    if (options.json) write_atomically(*options.json, to_text(report.to_json(), true) + "\n");
    if (hangs) {
        // A thread still uses what the end of `main` would destroy.
        code = finished(code);
        std::fflush(nullptr);
        std::_Exit(static_cast<int>(code));
    }
    return code;
}

ExitCode guarded(int count, char **arguments) {
    try {
        const Options options = parse_options(count, arguments);
        if (options.help) say("%s", usage().c_str());
        if (options.version)
            say("edgeproof-run %s\nvideos: %s\n", EDGEPROOF_VERSION, video_reader().c_str());
        if (options.help || options.version) return ExitCode::ok;
        // Errors are printed here; OpenCV's own lines name its source files.
        if (std::getenv("OPENCV_LOG_LEVEL") == nullptr)
            cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
        return run(options, {arguments, arguments + count});
    } catch (const Failure &failure) {
        fail("%s\n", redact(failure.what()).c_str());
        return failure.code;
    } catch (const std::bad_alloc &) {
        fail("out of memory\n");
        return ExitCode::bad_input;
    } catch (const std::logic_error &error) {
        // What this program should have prevented, whatever it was given.
        fail("internal error: %s\n  fix:      please report it\n", redact(error.what()).c_str());
        return ExitCode::internal;
    } catch (const std::exception &error) {
        // Errors of the core, and exceptions of libraries on invalid input.
        fail("%s\n", redact(error.what()).c_str());
        return ExitCode::bad_input;
    } catch (...) {
        fail("internal error\n  fix:      please report it\n");
        return ExitCode::internal;
    }
}

}  // namespace
}  // namespace edgeproof::app

int main(int count, char **arguments) {
    edgeproof::app::open_closed_streams();
    std::signal(SIGXFSZ, SIG_IGN); // a file beyond `ulimit -f` is an error of its write, not the end of the process
    // Before an engine is loaded; what the user has set stays.
    for (const auto &variable : edgeproof::spec::telemetry_off) setenv(variable.name, variable.value, 0);
    return static_cast<int>(edgeproof::app::finished(edgeproof::app::guarded(count, arguments)));
}
