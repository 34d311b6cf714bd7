#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "live/worker.h"
#include "report/growing.h"
#include "sources/base.h"

namespace edgeproof::app {

/// JSON lines, written one by one, so that they can be followed and survive a crash whole. An existing file is appended
/// to; each run begins with `{"run_began_unix_s": ...}`.
class Predictions {
  public:
    /// Throws `Failure` (bad input) where the file cannot be written, as `write` does.
    Predictions(const std::filesystem::path &path, const Rotation &rotation);

    /// `sure`: whether the prediction reaches its threshold; empty without one.
    void write(const std::string &stream, const Captured &frame, const Decided &decided, std::optional<bool> sure);

  private:
    std::filesystem::path path_;
    Rotation rotation_;
    std::optional<GrowingFile> file_;
};

}  // namespace edgeproof::app
