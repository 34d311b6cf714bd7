#pragma once

#include <optional>
#include <string>
#include <vector>

#include "edgeproof/json.h"
#include "media/media.h"

namespace edgeproof::app {

/// A frame to look at, and what the model said; the fields of `edgeproof_runtime.evidence.thumbnail.Thumbnail`.
struct Sample {
    std::string name;
    Thumbnail thumbnail;
    std::string label;
    std::optional<double> probability;
    std::optional<std::string> truth;
};

/// At most twelve samples of a run of unknown length, evenly spread: thinned by half whenever there are more.
class Samples {
  public:
    /// Whether to make a sample of the next frame; asked once per frame.
    bool wants() { return seen_++ % stride_ == 0; }
    void keep(Sample sample);
    json::Value to_json() const;

  private:
    std::size_t seen_ = 0;
    std::size_t stride_ = 1;
    std::vector<Sample> kept_;
};

}  // namespace edgeproof::app
