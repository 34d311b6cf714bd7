#include "engines/tensorrt_log.h"

#include <cstring>
#include <utility>

#ifdef EDGEPROOF_TENSORRT_PLUGINS
#include <NvInferPlugin.h>
#endif

namespace edgeproof::app {
namespace {

constexpr const char *other_device = "across different models of devices";  // in TensorRT's words, since 8.0
constexpr std::size_t most_bytes = 4096;                                    // of errors

}  // namespace

void TensorRtLog::log(Severity severity, const char *message) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (severity <= Severity::kERROR) {
        if (errors_.size() < most_bytes) errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
    } else if (severity == Severity::kWARNING && !warned_ && std::strstr(message, other_device) != nullptr) {
        warned_ = true;
        warning_ = message;
    }
}

std::string TensorRtLog::take_errors() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(errors_, {});
}

std::string TensorRtLog::take_warning() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(warning_, {});
}

TensorRtLog &tensorrt_log() {
    static auto *const log = new TensorRtLog;  // never destroyed: TensorRT's libraries may log at the end
    return *log;
}

void register_plugins() {
#ifdef EDGEPROOF_TENSORRT_PLUGINS
    static const bool registered = [] {
        nvinfer1::ILogger *const log = &tensorrt_log();
        const bool done = initLibNvInferPlugins(log, "");
        // A plan that needs one that is missing is refused with TensorRT's words.
        if (!done) tensorrt_log().take_errors();
        return done;
    }();
    (void)registered;
#endif
}

}  // namespace edgeproof::app
