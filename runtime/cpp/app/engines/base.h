#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "edgeproof/artifact.h"

namespace edgeproof::app {

/// Name, version, device, threads and details of a loaded engine, for reports.
struct EngineInfo {
    std::string name;
    std::string version;
    std::string device;
    std::optional<int> threads;
    std::vector<std::pair<std::string, std::string>> details = {};  ///< what else it uses, by name, as in Python
    std::vector<std::string> notes = {};                            ///< warnings, each a sentence
};

/// A loaded model. One thread at a time.
class Engine {
  public:
    Engine() = default;
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;
    virtual ~Engine() = default;

    virtual EngineInfo describe() const = 0;
    /// Memory of one input tensor, in the contract's layout and dtype (of a generator: float32), that `run` reads.
    virtual void *input() = 0;
    /// Run inference on `input()`. Throws `Failure`.
    virtual void run() = 0;
    /// The last run's `bundle.output_size(index)` values of an output, overwritten by the next run.
    virtual const float *output(std::size_t index) const = 0;
};

}  // namespace edgeproof::app
