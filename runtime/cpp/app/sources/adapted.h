#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "sources/base.h"
#include "sources/options.h"

namespace edgeproof::app {

/// Thins a live source's frames to a rate; tests/golden/pace.json holds it to `edgeproof_runtime.sources.adapted`.
class RateLimit {
  public:
    explicit RateLimit(double fps);

    /// Whether a frame that was captured then comes too early.
    bool leaves_out(std::int64_t captured_ns);

    std::int64_t interval_ns() const { return interval_ns_; }

  private:
    std::int64_t interval_ns_;
    std::int64_t due_ns_ = 0;
};

/// Rotate, crop, rate-limit or loop a source's frames; the source itself without such options. `reopen` opens it again
/// for the next pass; null for a source that can be read once. `next` throws `Failure` (bad input) where a crop exceeds the frame.
std::unique_ptr<Source> adapted(std::unique_ptr<Source> source, const SourceOptions &options,
                                std::function<std::unique_ptr<Source>()> reopen);

}  // namespace edgeproof::app
