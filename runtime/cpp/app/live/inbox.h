#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "live/health.h"
#include "live/pace.h"
#include "sources/base.h"

namespace edgeproof::app {

/// Where the pipeline's frames come from: a file's frames one after another; of a live source, which a thread of its
/// own reads, the newest.
class Inbox {
  public:
    Inbox(std::shared_ptr<Source> source, std::optional<std::int64_t> max_frames, StreamHealth health,
          Pace pace);
    ~Inbox();
    Inbox(const Inbox &) = delete;
    Inbox &operator=(const Inbox &) = delete;

    /// The next frame; nothing at the end of the source, or once a stop was requested. A frame without an image where
    /// many in a row were left out as unhealthy, so that `unhealthy` is asked for them.
    std::optional<Captured> next();

    /// When those frames were captured (`Captured::captured_ns`) that newer ones have replaced since the last call.
    std::vector<std::int64_t> overtaken();

    /// When those frames were captured that were left out as unhealthy since the last call.
    std::vector<std::int64_t> unhealthy();

    /// What was found of the frames so far.
    HealthRecord health() const;

    /// Frames that were left out for want of motion or within the interval, by cause. They count nowhere else.
    std::map<std::string, std::int64_t> paced_out() const;

    /// Frames that were left out as unhealthy, for want of motion or within the interval. Safe from any thread.
    std::int64_t left_out() const;

    /// Stop reading. Whether the source let go within two seconds: a camera may hang in its driver, and must then be
    /// left alone, as it is still being read.
    bool end();

    /// Frames that the source gave.
    std::int64_t frames_in() const;
    /// When the frame was captured that nobody took before the end.
    std::optional<std::int64_t> left_ns() const;

  private:
    struct Shared;
    std::shared_ptr<Shared> shared_;
    std::thread thread_;
};

}  // namespace edgeproof::app
