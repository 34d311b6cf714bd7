#pragma once

#include "sources/libav.h"

namespace edgeproof::app::libav {

/// Open a video. Throws `Failure` (bad input) with the cause.
std::unique_ptr<Source> open_source(const Address &address);

}  // namespace edgeproof::app::libav
