#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sources/libav/handles.h"
#include "sources/libav/hardware.h"

namespace edgeproof::app::libav {

/// A decoded frame, with the number of its packet (`DamageTrace`).
struct Numbered {
    FrameHandle frame;
    std::int64_t number = 0;
};

/// Decodes the packets of one video.
class Decoder {
  public:
    /// `threads`: 0 for all cores, or for one where several lose the flags of damaged frames. `hardware`: whether to
    /// decode in hardware where there is one. Throws `Failure` (bad input) where the decoder does not open.
    Decoder(const AVStream &stream, const AVCodec &codec, int threads, bool hardware, const std::string &name);

    /// What decodes the frames besides the CPU; null for the CPU alone.
    const Hardware *hardware() const { return hardware_.get(); }

    /// FFmpeg's name of the codec.
    std::string codec() const { return context_->codec->name; }
    /// Whether the codec predicts no frame from another.
    bool intra_only() const;
    /// Whether the decoder gives a frame for every packet that holds one, so that a packet without a frame is a loss.
    bool one_frame_a_packet() const;
    /// Whether threads work on several packets, so that a refusal is not of the packet that was sent last.
    bool works_ahead() const { return (context_->active_thread_type & FF_THREAD_FRAME) != 0; }

    /// Give a packet, or null for the end of the stream. Returns whether the decoder took it.
    bool send(AVPacket *packet, std::int64_t number);

    /// The next frame in the order of showing; null until another packet is sent. `refused` is set where the decoder
    /// gave up a packet meanwhile.
    Numbered receive(bool &refused);

  private:
    std::unique_ptr<Hardware> hardware_;  ///< outlives the context, which uses it
    CodecHandle context_;
};

/// Whether the decoder flagged the frame as wrong.
bool is_corrupt(const AVFrame &frame);

}  // namespace edgeproof::app::libav
