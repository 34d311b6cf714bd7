#include "live/stop.h"

#include <atomic>
#include <csignal>

namespace edgeproof::app {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not take a lock");

void request_stop(int) {
    requested = true;
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
}

void stop_on_hangup() {
#ifdef SIGHUP
    if (std::signal(SIGHUP, request_stop) == SIG_IGN) {
        std::signal(SIGHUP, SIG_IGN);
    }
#endif
}

}  // namespace

void stop_on_signals() {
    std::signal(SIGINT, request_stop);
    std::signal(SIGTERM, request_stop);
    stop_on_hangup();
}

bool stop_requested() { return requested; }

}  // namespace edgeproof::app
