#pragma once

namespace edgeproof::app {

constexpr double z95 = 1.959963984540054;  ///< Quantile of the normal distribution for two-sided 95 % intervals.

}  // namespace edgeproof::app
