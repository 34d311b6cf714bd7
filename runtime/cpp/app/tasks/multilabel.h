#pragma once

#include "tasks/record.h"

namespace edgeproof::app {

/// From the model's probabilities to any number of labels per frame, each from its own threshold upwards.
extern const Task multilabel;

}  // namespace edgeproof::app
