#pragma once

#include <memory>
#include <vector>

#include "tasks/record.h"

namespace edgeproof::app {

/// The tasks that this program knows, one record each.
const std::vector<Task> &tasks();

/// The record of a bundle's task, once the manifest holds what the task needs.
/// Throws `Failure` (bad input): the task is unknown, its settings or outputs are missing or not the task's.
const Task &task_of(const Bundle &bundle);

/// What turns the model's outputs for one frame into a decision.
/// Throws `Failure` (bad input) where the bundle's task takes no frames.
std::unique_ptr<Head> head_of(const Bundle &bundle);

/// What collects decisions about labelled frames.
/// Throws `Failure` (bad input) where labelled frames measure nothing for the bundle's task.
std::unique_ptr<Judge> judge_of(const Bundle &bundle);

/// Generate images, as `edgeproof sample --grid` does. Throws `Failure` (bad input): the bundle's task generates none,
/// a value is not finite, the file cannot be written.
void sample(const Bundle &bundle, Engine &engine, const SampleOptions &options);

}  // namespace edgeproof::app
