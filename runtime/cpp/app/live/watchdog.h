#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "system/notify.h"

namespace edgeproof::app {

/// Tells systemd how a run is: READY at the start, STATUS and WATCHDOG from a thread, STOPPING at the end. Does nothing
/// without `NOTIFY_SOCKET`.
///
/// The watchdog is fed while the number of handled frames grows: an engine or a source that does not return misses it.
class Watchdog {
  public:
    /// `handled` returns the frames that were decided or left out on purpose, from any thread; it is called until the
    /// watchdog's end.
    explicit Watchdog(std::function<std::int64_t()> handled);
    ~Watchdog();
    Watchdog(const Watchdog &) = delete;
    Watchdog &operator=(const Watchdog &) = delete;

  private:
    void work();

    std::function<std::int64_t()> handled_;
    SystemdSocket systemd_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace edgeproof::app
