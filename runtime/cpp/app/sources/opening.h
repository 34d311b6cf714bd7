#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sources/bands.h"
#include "sources/base.h"
#include "sources/options.h"

namespace edgeproof::app {

/// Open a camera ("0", "/dev/video0"), an image, a folder or glob of images and videos, a video file, a FIFO or "-"
/// (standard input), a URL (RTSP, HTTP, ...) or a GStreamer pipeline (anything with " ! "). `label_by_folder` labels
/// images with the name of their folder. Throws `Failure` (bad input) where it does not exist or does not open, or
/// gives other frames than `bands`, which is for models of many channels.
std::unique_ptr<Source> open_source(const std::string &spec, bool label_by_folder,
                                    const std::optional<Bands> &bands = std::nullopt,
                                    const SourceOptions &options = {});

/// Image files, named relative to `root`; `others` are named among the skipped.
std::unique_ptr<Source> open_pictures(const std::string &name, const std::filesystem::path &root,
                                      std::vector<std::filesystem::path> files, bool label_by_folder,
                                      std::vector<std::filesystem::path> others = {},
                                      const std::optional<Bands> &bands = std::nullopt);
/// Whether a file is an image by its extension or content; `bands`: whether .npy files are, too.
bool looks_like_picture(const std::filesystem::path &file, bool bands = false);

/// Why something that was found in a folder is not read: a folder that cannot be, or `otherwise`.
std::string why_left_out(const std::filesystem::path &path, const char *otherwise);

/// Folder by folder, numbers as numbers: frame2 before frame10.
bool natural_less(const std::filesystem::path &a, const std::filesystem::path &b);

}  // namespace edgeproof::app
