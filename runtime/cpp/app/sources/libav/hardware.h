#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "sources/libav/handles.h"

namespace edgeproof::app::libav {

/// Decoding in hardware: NVIDIA's (CUDA), Intel's (QSV) or VA-API's, through FFmpeg's hwaccel.
class Hardware {
  public:
    /// The first device of these that opens and that FFmpeg decodes this codec on; null without one.
    static std::unique_ptr<Hardware> of(const AVCodec &codec);

    /// Have a decoder use the device. Call before it is opened; the decoder must not outlive this.
    void attach(AVCodecContext &context);

    /// The frame in the machine's memory; the frame itself where it is there already, null where it cannot be copied.
    FrameHandle fetched(FrameHandle frame) const;

    /// Name of the device, such as "CUDA".
    const std::string &name() const { return name_; }
    /// Whether the decoder found no form that the device decodes this video in, and uses the CPU.
    bool refused() const { return refused_; }

  private:
    struct Unref {
        void operator()(AVBufferRef *reference) const { av_buffer_unref(&reference); }
    };

    static AVPixelFormat choose(AVCodecContext *context, const AVPixelFormat *offered);

    std::unique_ptr<AVBufferRef, Unref> device_;
    std::string name_;
    AVPixelFormat format_ = AV_PIX_FMT_NONE;
    std::atomic<bool> refused_{false};
};

}  // namespace edgeproof::app::libav
