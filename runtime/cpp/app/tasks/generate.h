#pragma once

#include "tasks/record.h"

namespace edgeproof::app {

/// From a seed to images.
extern const Task generate;

}  // namespace edgeproof::app
