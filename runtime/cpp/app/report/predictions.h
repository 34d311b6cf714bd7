#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "live/worker.h"
#include "sources/base.h"

namespace edgeproof::app {

/// JSON lines, flushed one by one, so that they can be followed and survive a crash whole.
class Predictions {
  public:
    /// Throws `Failure` (bad input) where the file cannot be written, as `write` does.
    explicit Predictions(const std::filesystem::path &path);

    void write(const std::string &stream, const Captured &frame, const Decided &decided);

  private:
    std::filesystem::path path_;
    std::ofstream file_;
};

}  // namespace edgeproof::app
