#include "live/watchdog.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace edgeproof::app {
namespace {

constexpr double status_s = 5.0;
constexpr double feeds = 4.0;  // per time limit: systemd advises at least two

}  // namespace

Watchdog::Watchdog(std::function<std::int64_t()> handled) : handled_(std::move(handled)) {
    if (!systemd_.exists()) return;
    systemd_.send("READY=1");
    thread_ = std::thread([this] { work(); });
}

Watchdog::~Watchdog() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
    systemd_.send("STOPPING=1\nSTATUS=stopping");
}

void Watchdog::work() {
    const double limit_s = systemd_.watchdog_s().value_or(status_s * feeds);
    const std::chrono::duration<double> interval(std::min(status_s, limit_s / feeds));
    std::int64_t before = handled_();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!changed_.wait_for(lock, interval, [this] { return ending_; })) {
        const std::int64_t now = handled_();
        systemd_.send("STATUS=" + std::to_string(now) + " frames handled" + (now > before ? "\nWATCHDOG=1" : ""));
        before = now;
    }
}

}  // namespace edgeproof::app
