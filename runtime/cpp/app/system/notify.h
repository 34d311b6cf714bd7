#pragma once

#include <optional>
#include <string>

namespace edgeproof::app {

/// The socket of systemd's `NOTIFY_SOCKET` (sd_notify(3)); without that variable messages go nowhere. As
/// `edgeproof_runtime.system.notify`.
class SystemdSocket {
  public:
    SystemdSocket();

    bool exists() const { return !address_.empty(); }

    /// Time within which systemd expects `WATCHDOG=1`, seconds; none without a watchdog for this process.
    std::optional<double> watchdog_s() const { return watchdog_s_; }

    /// Send lines `NAME=VALUE`. A manager that does not listen any more is ignored.
    void send(const std::string &lines) const;

  private:
    std::string address_;
    std::optional<double> watchdog_s_;
};

}  // namespace edgeproof::app
