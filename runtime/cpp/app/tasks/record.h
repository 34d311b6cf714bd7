#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "edgeproof/bundle.h"
#include "edgeproof/unknown.h"
#include "engines/base.h"
#include "metrics/gate.h"
#include "tasks/decision.h"

namespace edgeproof::app {

/// Turns the model's outputs for one frame into a prediction.
class Head {
  public:
    Head() = default;
    Head(const Head &) = delete;
    Head &operator=(const Head &) = delete;
    virtual ~Head() = default;

    /// The prediction for the frame that the engine ran last.
    virtual std::unique_ptr<Decision> operator()(const Engine &engine) = 0;
    /// Counts of all predictions so far, in one line for people; empty if the task counts nothing.
    virtual std::string totals() const { return {}; }
};

/// Collects predictions for labelled frames, and evaluates them.
class Judge {
  public:
    Judge() = default;
    Judge(const Judge &) = delete;
    Judge &operator=(const Judge &) = delete;
    virtual ~Judge() = default;

    /// Take one labelled frame. `decision` is from the head of the same bundle, `truth` the frame's label, `frame` its
    /// name for an error. Returns the ground truth in the words of the prediction's label.
    /// Throws `Failure` (bad input) if the model has no such label.
    virtual std::string add(const Decision &decision, const std::string &truth, const std::string &frame) = 0;
    /// The figures for people, one line each. Requires at least one frame.
    virtual std::vector<std::string> lines() const = 0;
    /// The report's sections, by key. Requires at least one frame.
    virtual json::Object sections() const = 0;
};

/// The model's inputs for the golden cases, computed on this machine.
class GoldenInputs {
  public:
    GoldenInputs() = default;
    GoldenInputs(const GoldenInputs &) = delete;
    GoldenInputs &operator=(const GoldenInputs &) = delete;
    virtual ~GoldenInputs() = default;

    /// Write a case's input into `slot`, one input of the model, and compare it with the bundle's.
    /// Throws `Failure` (bad input) if the case cannot be read.
    virtual void fill(const GoldenEntry &golden, void *slot) = 0;
    /// The gates that require no engine, at least one, over the cases that were filled.
    virtual std::vector<Gate> gates() const = 0;
};

struct SampleOptions {
    std::int64_t count = 0;
    std::uint64_t seed = 0;
    std::filesystem::path grid;
};

/// Everything that is true of one task; the counterpart of `edgeproof_runtime.tasks.record.Task`.
struct Task {
    const char *name;      ///< in bundle.json and reports
    const char *summary;   ///< what its models do, in one clause: "classifies images"
    bool takes_frames;     ///< the input is made of a frame; false: of a latent vector
    const char *settings;  ///< the key of bundle.json with the task's own settings, or null
    const char *section;   ///< the report's section that `judge` writes, or null
    bool ranked;           ///< outputs are scores of classes: parity compares the top-1 prediction
    /// Check the task's settings and outputs. Throws `Failure` (bad input), or `Error` if a key is missing.
    void (*check)(const Bundle &bundle);
    std::unique_ptr<GoldenInputs> (*golden_inputs)(const Bundle &bundle);
    std::unique_ptr<Head> (*head)(const Bundle &bundle);    ///< null if the model takes no frames
    std::unique_ptr<Judge> (*judge)(const Bundle &bundle);  ///< null without metrics on labelled frames
    /// Write images number 0 to `count - 1` of a seed side by side; null if the task generates none.
    void (*sample)(const Bundle &bundle, Engine &engine, const SampleOptions &options);
    /// `head` with a rule for frames of none of the classes; null if the task has no such predictions.
    /// Throws `Failure` (bad input) if the outputs do not allow the rule's score.
    std::unique_ptr<Head> (*unknown_head)(const Bundle &bundle, const UnknownRule &rule) = nullptr;
};

}  // namespace edgeproof::app
