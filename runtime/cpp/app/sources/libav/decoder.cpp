#include "sources/libav/decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "edgeproof/failure.h"
#include "sources/libav/compat.h"

namespace edgeproof::app::libav {
namespace {

// The same three lists as `edgeproof_runtime.sources.media`. All codecs but these are taken to predict frames.
constexpr std::array intra_codecs = {"apng",   "bmp",     "dnxhd",   "dpx",      "dvvideo", "ffvhuff",  "gif",   "huffyuv",
                                     "jpeg2000", "jpegls", "ljpeg", "mjpeg",    "png",     "prores",   "qtrle", "rawvideo",
                                     "targa",  "tiff",    "utvideo", "v210",     "webp"};
constexpr std::array steady_codecs = {"h264", "mpeg1video", "mpeg2video"};
// These conceal a missing reference without flagging the frame; they can be made to refuse it.
constexpr std::array silent_codecs = {"hevc", "vvc"};

template <std::size_t size>
bool is_among(const char *name, const std::array<const char *, size> &names) {
    return std::any_of(names.begin(), names.end(), [name](const char *one) { return std::strcmp(name, one) == 0; });
}

}  // namespace

Decoder::Decoder(const AVStream &stream, const AVCodec &codec, int threads, const std::string &name)
    : context_(avcodec_alloc_context3(&codec)) {
    if (!context_) throw std::bad_alloc();
    avcodec_parameters_to_context(context_.get(), stream.codecpar);
    context_->pkt_timebase = stream.time_base;
    context_->thread_count = threads > 0 || threads_keep_flags ? threads : 1;
    context_->flags |= number_flag;
    if (is_among(codec.name, silent_codecs)) context_->err_recognition |= AV_EF_EXPLODE;
    if (avcodec_open2(context_.get(), &codec, nullptr) < 0)
        throw bad_input(name + ": cannot open", std::string("the decoder ") + codec.name + " does not open", {},
                        "convert it to H.264 in MP4");
}

bool Decoder::intra_only() const { return is_among(context_->codec->name, intra_codecs); }

bool Decoder::one_frame_a_packet() const { return is_among(context_->codec->name, steady_codecs); }

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
        if (error >= 0) break;
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) return {};
        refused = true;
    }
    const std::int64_t number = number_of(*frame);
    return {std::move(frame), number};
}

bool is_corrupt(const AVFrame &frame) {
    return (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0 || frame.decode_error_flags != 0;
}

}  // namespace edgeproof::app::libav
