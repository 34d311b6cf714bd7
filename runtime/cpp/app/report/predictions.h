#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "edgeproof/bundle.h"
#include "sources/base.h"
#include "tasks/decision.h"

namespace edgeproof::app {

/// JSON lines, flushed one by one, so that they can be followed and survive a crash whole.
class Predictions {
  public:
    /// Throws `Failure` (bad input) where the file cannot be written, as `write` does.
    Predictions(const std::filesystem::path &path, const Bundle &bundle);

    void write(const std::string &stream, const Captured &frame, const Decision &decision);

  private:
    json::Value top_json(const std::vector<Scored> &top) const;

    std::filesystem::path path_;
    const Bundle &bundle_;
    std::ofstream file_;
};

}  // namespace edgeproof::app
