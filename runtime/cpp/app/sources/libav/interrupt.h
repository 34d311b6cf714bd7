#pragma once

#include <atomic>
#include <cstdint>

#include "sources/base.h"

namespace edgeproof::app::libav {

/// What ends a call of FFmpeg that waits: its deadline, or another thread that wants the source to end.
class Interrupt {
  public:
    /// Begin a call that may take so long; 0 is no limit.
    void allow(double seconds) {
        expired_ = false;
        until_ns_ = seconds > 0 ? now_ns() + static_cast<std::int64_t>(seconds * 1e9) : 0;
    }
    void cancel() { cancelled_ = true; }

    /// Whether the last call was ended by its deadline.
    bool expired() const { return expired_; }

    bool due() {
        if (until_ns_ != 0 && now_ns() > until_ns_) expired_ = true;
        return expired_ || cancelled_;
    }

    /// FFmpeg's `AVIOInterruptCB`.
    static int callback(void *self) { return static_cast<Interrupt *>(self)->due() ? 1 : 0; }

  private:
    std::atomic<bool> cancelled_{false};
    std::atomic<bool> expired_{false};
    std::atomic<std::int64_t> until_ns_{0};
};

}  // namespace edgeproof::app::libav
