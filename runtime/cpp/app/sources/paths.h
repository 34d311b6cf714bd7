#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sources/bands.h"
#include "sources/base.h"
#include "sources/options.h"

namespace edgeproof::app {

/// Whether a source is standard input.
bool is_standard_input(const std::string &spec);

/// The path of a "file://" address; anything else unchanged. Throws `Failure` (bad input): a file of another
/// host, or no path.
std::string path_of(const std::string &spec);

/// Open an image, a folder, a glob, a video file, a FIFO or standard input. Throws `Failure` (bad input) where it does
/// not exist, holds nothing to read, or does not open.
std::unique_ptr<Source> open_path(const std::string &spec, bool label_by_folder, const std::optional<Bands> &bands,
                                  const SourceOptions &options, const std::string &expected);

/// The error that a source gives three channels of uint8 only.
[[noreturn]] void refuse_bands(const std::string &name, const Bands &bands);

}  // namespace edgeproof::app
