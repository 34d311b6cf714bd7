#pragma once

#include <NvInferRuntime.h>

#include <mutex>
#include <string>

namespace edgeproof::app {

/// TensorRT's messages: errors are kept for the next message of ours, and its warning of a plan of another model of GPU
/// for the engine's notes. The rest is dropped. Thread-safe.
class TensorRtLog : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char *message) noexcept override;

    /// The errors since the last call as one text.
    std::string take_errors();
    /// The warning; empty if there is none, or if it was taken before in this process.
    std::string take_warning();

  private:
    std::mutex mutex_;
    std::string errors_;
    std::string warning_;
    bool warned_ = false;
};

/// The log of this process: TensorRT keeps the first and warns about every other.
TensorRtLog &tensorrt_log();

/// Register TensorRT's plugins, which `trtexec` does as well, unless that was done. Nothing happens in a build without
/// them.
void register_plugins();

}  // namespace edgeproof::app
