#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tasks/record.h"

namespace edgeproof::app {

/// The registry of tasks, one record each.
const std::vector<Task> &tasks();

/// The record of a bundle's task, after the manifest was checked for it.
/// Throws `Failure` (bad input): the task is unknown, or its settings or outputs are missing or invalid.
const Task &task_of(const Bundle &bundle);

/// The head that turns the model's outputs for one frame into a prediction.
/// `unknown`: when a frame shows none of the classes; empty: it always shows one.
/// Throws `Failure` (bad input) if the bundle's task takes no frames, or has no unknown ones.
std::unique_ptr<Head> head_of(const Bundle &bundle, const std::optional<UnknownRule> &unknown = std::nullopt);

/// The judge that evaluates predictions for labelled frames.
/// Throws `Failure` (bad input) if the bundle's task is not evaluated on labelled frames.
std::unique_ptr<Judge> judge_of(const Bundle &bundle);

/// Generate images, as `edgeproof sample --grid` does. Throws `Failure` (bad input): the bundle's task generates none,
/// a value is not finite, the file cannot be written.
void sample(const Bundle &bundle, Engine &engine, const SampleOptions &options);

}  // namespace edgeproof::app
