#pragma once

#include <filesystem>

namespace edgeproof::app {

enum class Animation { none, webp, other };

/// Whether a file is an image of several frames: GIF, APNG or WebP, which FFmpeg does not decode.
Animation animation_of(const std::filesystem::path &file);

}  // namespace edgeproof::app
