#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engines/base.h"

namespace edgeproof::app {

/// Limits of a trial.
struct TrialLimits {
    double seconds;
    double mib;  ///< resident memory of the child
};

/// What became of a child process that did some work.
struct Trial {
    std::string fault;      ///< what the work does to a process, as a clause; empty if it leaves it alive
    bool done = false;      ///< the work ended without an exception
    bool lasting = true;    ///< another trial would find the same
    std::string exceeded;   ///< "seconds" or "mib" if a limit was exceeded
    double limit = 0.0;     ///< value of that limit
};

/// Do some work in a child process. Call it while this process has one thread: a child has no other, and would wait
/// for the locks that the others held.
Trial try_in_child(const std::function<void()> &work, const TrialLimits &limits);

/// Load and run a model on an engine in a child process, unless the outcome is known: the cache of the Python package
/// keeps it per bundle, engine, version and machine, as `edgeproof_runtime.engines.trial` does.
/// Call it like `try_in_child`; an outcome is then known for the rest of the process.
const Trial &trial_of(const std::string &engine, const std::string &version, const ModelArtifact &model,
                      const std::function<std::unique_ptr<Engine>()> &load);

}  // namespace edgeproof::app
