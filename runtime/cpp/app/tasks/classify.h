#pragma once

#include "tasks/record.h"

namespace edgeproof::app {

/// From the model's output to labels with probabilities, and their accuracy.
extern const Task classify;

}  // namespace edgeproof::app
