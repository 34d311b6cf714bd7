#include "sources/libav/decoder.h"

#include <new>

#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "sources/libav/compat.h"

namespace edgeproof::app::libav {

Decoder::Decoder(const AVStream &stream, const AVCodec &codec, int threads, bool hardware, const std::string &name)
    : hardware_(hardware ? Hardware::of(codec) : nullptr), context_(avcodec_alloc_context3(&codec)) {
    if (!context_) throw std::bad_alloc();
    avcodec_parameters_to_context(context_.get(), stream.codecpar);
    context_->pkt_timebase = stream.time_base;
    context_->thread_count = threads > 0 || threads_keep_flags ? threads : 1;
    context_->flags |= number_flag;
    // These conceal a missing reference without flagging the frame; they can be made to refuse it.
    if (has_name(spec::silent_codecs, codec.name)) context_->err_recognition |= AV_EF_EXPLODE;
    if (hardware_) hardware_->attach(*context_);
    if (avcodec_open2(context_.get(), &codec, nullptr) < 0)
        throw bad_input(name + ": cannot open", std::string("the decoder ") + codec.name + " does not open", {},
                        "convert it to H.264 in MP4");
}

bool Decoder::intra_only() const { return has_name(spec::intra_codecs, codec()); }

bool Decoder::one_frame_a_packet() const { return has_name(spec::steady_codecs, codec()); }

bool Decoder::send(AVPacket *packet, std::int64_t number) {
    if (packet != nullptr) set_number(*context_, *packet, number);
    const int error = avcodec_send_packet(context_.get(), packet);
    return error >= 0 || error == AVERROR_EOF;
}

Numbered Decoder::receive(bool &refused) {
    FrameHandle frame(av_frame_alloc());
    if (!frame) throw std::bad_alloc();
    // Each refusal uses up a packet, so that this ends.
    while (true) {
        const int error = avcodec_receive_frame(context_.get(), frame.get());
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) return {};
        if (error >= 0) {
            const std::int64_t number = number_of(*frame);
            FrameHandle fetched = hardware_ ? hardware_->fetched(std::move(frame)) : std::move(frame);
            if (fetched) return {std::move(fetched), number};
            frame.reset(av_frame_alloc());
            if (!frame) throw std::bad_alloc();
        }
        refused = true;
    }
}

bool is_corrupt(const AVFrame &frame) {
    return (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0 || frame.decode_error_flags != 0;
}

}  // namespace edgeproof::app::libav
