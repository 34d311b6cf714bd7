#pragma once

#include <string>
#include <vector>

namespace edgeproof::app::libav {

/// Collects FFmpeg's warnings and errors of the calling thread while it exists: FFmpeg says some causes only there. All
/// other lines of FFmpeg are dropped, because they name no source.
class LogLines {
  public:
    /// `information`: whether to collect what is less than a warning, too.
    explicit LogLines(bool information = false);
    ~LogLines();
    LogLines(const LogLines &) = delete;
    LogLines &operator=(const LogLines &) = delete;

    /// "[component] text", oldest first; at most the last 50.
    std::vector<std::string> lines;

    /// Whether a line contains a text.
    bool mention(const char *text) const;
    bool takes_information() const { return information_; }

  private:
    bool information_;
    LogLines *outer_;
};

/// Take FFmpeg's log lines from now on.
void take_log();

}  // namespace edgeproof::app::libav
