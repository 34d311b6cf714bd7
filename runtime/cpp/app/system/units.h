#pragma once

#include <optional>
#include <string>

namespace edgeproof::app {

/// The seconds of "8h", "1h30m", "90s", "250ms" or "90"; nothing where a text is no duration above 0. The counterpart of
/// `edgeproof_runtime.system.units.seconds_of`; tests/golden/durations.json holds both.
std::optional<double> seconds_of(const std::string &text);

}  // namespace edgeproof::app
