#pragma once

#include "tasks/record.h"

namespace edgeproof::app {

/// From heat map and score to good or defect, and how well the score tells them apart.
extern const Task reconstruct;

}  // namespace edgeproof::app
