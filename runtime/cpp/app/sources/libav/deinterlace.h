#pragma once

#include <deque>

#include "sources/libav/handles.h"

namespace edgeproof::app::libav {

/// Makes progressive frames of interlaced ones, one of each, with bwdif, or with yadif where FFmpeg lacks it. Frames
/// that are not flagged as interlaced stay as they are. It begins to work at the first flagged frame, because the
/// filter is one frame late.
class Deinterlacer {
  public:
    /// Whether frames go through the filter now.
    bool active() const { return graph_ != nullptr; }

    /// Take a decoded frame. It stays as it is where FFmpeg has no filter for it.
    void push(FrameHandle frame);

    /// The end of the stream: give the frame that the filter still holds.
    void finish();

    /// The next frame, in order; null until another one is pushed.
    FrameHandle pull();

  private:
    bool configure(const AVFrame &frame);
    void collect();

    GraphHandle graph_;
    AVFilterContext *begin_ = nullptr;  ///< owned by the graph
    AVFilterContext *end_ = nullptr;    ///< owned by the graph
    int width_ = 0;
    int height_ = 0;
    int format_ = AV_PIX_FMT_NONE;
    std::deque<FrameHandle> ready_;
};

}  // namespace edgeproof::app::libav
