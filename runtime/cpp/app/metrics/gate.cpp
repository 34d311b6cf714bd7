#include "metrics/gate.h"

#include <algorithm>
#include <limits>

namespace edgeproof::app {

bool Measured::passed() const {
    if (!at_least && !at_most) return true;
    return value >= at_least.value_or(-std::numeric_limits<double>::infinity()) &&
           value <= at_most.value_or(std::numeric_limits<double>::infinity());
}

bool Gate::passed() const {
    return std::all_of(measured.begin(), measured.end(), [](const Measured &one) { return one.passed(); });
}

}  // namespace edgeproof::app
