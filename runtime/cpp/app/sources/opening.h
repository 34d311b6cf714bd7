#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sources/base.h"

namespace edgeproof::app {

/// Open a camera ("0", "/dev/video0"), a picture, a folder of pictures, a video file, a URL (RTSP, HTTP, ...) or a
/// GStreamer pipeline (anything with " ! "). `label_by_folder` labels pictures with the name of their folder. Throws
/// `Failure` (bad input) where it does not exist or does not open.
std::unique_ptr<Source> open_source(const std::string &spec, bool label_by_folder);

/// Picture files, named relative to `root`; `others` are named among the skipped.
std::unique_ptr<Source> open_pictures(const std::string &name, const std::filesystem::path &root,
                                      std::vector<std::filesystem::path> files, bool label_by_folder,
                                      std::vector<std::filesystem::path> others = {});
bool looks_like_picture(const std::filesystem::path &file);

}  // namespace edgeproof::app
