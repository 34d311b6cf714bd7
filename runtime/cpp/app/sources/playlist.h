#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sources/base.h"

namespace edgeproof::app {

/// Clips and images one after the other: all frames of a clip, one of an image. A file that does not open is skipped and
/// listed. Positions and media times run on from file to file.
class Playlist : public Source {
  public:
    using Open = std::function<std::unique_ptr<Source>(const std::filesystem::path &)>;

    /// `root`: folder that names are relative to. `others`: files that are neither image nor video, to be listed.
    Playlist(const std::string &name, std::filesystem::path root, std::vector<std::filesystem::path> files,
             const std::vector<std::filesystem::path> &others, Open open);

    std::optional<Captured> next() override;

  private:
    std::string relative(const std::filesystem::path &file) const;
    bool open_next();
    void end_current();

    std::filesystem::path root_;
    std::vector<std::filesystem::path> files_;
    Open open_;
    std::size_t at_ = 0;
    std::unique_ptr<Source> current_;
    std::string current_name_;
    std::int64_t first_ = 0;      ///< position of the current file's first frame
    std::int64_t following_ = 0;  ///< position after the current file's last frame
    std::int64_t began_ns_ = 0;   ///< media time of the current file's first frame
    std::int64_t end_ns_ = 0;     ///< media time after the current file's last frame
};

}  // namespace edgeproof::app
