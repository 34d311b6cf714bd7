#include "sources/base.h"

#include <chrono>

namespace edgeproof::app {

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

double unix_seconds(std::int64_t steady_ns) {
    const auto unix_now = std::chrono::system_clock::now().time_since_epoch();
    const std::int64_t unix_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(unix_now).count();
    return static_cast<double>(steady_ns + unix_ns - now_ns()) / 1e9;
}

}  // namespace edgeproof::app
