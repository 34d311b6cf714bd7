#pragma once

#include "options.h"

namespace edgeproof::app {

/// Check every output before any work, as `edgeproof.cli._paths` does: it can be written, is no input, lies in no
/// bundle and in no folder that is read, and is given once. Returns whether one goes to standard output. Throws
/// `Failure` (bad input).
bool check_outputs(const Options &options);

}  // namespace edgeproof::app
