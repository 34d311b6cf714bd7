#pragma once

// What differs between FFmpeg 4.4 (Ubuntu 22.04) and 8.

#include <cstdint>

#include "sources/libav/handles.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
}

namespace edgeproof::app::libav {

inline bool is_interlaced(const AVFrame &frame) {
#ifdef AV_FRAME_FLAG_INTERLACED
    return (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
    return frame.interlaced_frame != 0;
#endif
}

// The decoder copies a number from a packet to the frame that comes of it.
#if LIBAVCODEC_VERSION_MAJOR >= 60
constexpr int number_flag = AV_CODEC_FLAG_COPY_OPAQUE;
inline void set_number(AVCodecContext &, AVPacket &packet, std::int64_t number) {
    packet.opaque = reinterpret_cast<void *>(static_cast<std::intptr_t>(number));
}
inline std::int64_t number_of(const AVFrame &frame) { return reinterpret_cast<std::intptr_t>(frame.opaque); }
#else
constexpr int number_flag = 0;
inline void set_number(AVCodecContext &context, AVPacket &, std::int64_t number) { context.reordered_opaque = number; }
inline std::int64_t number_of(const AVFrame &frame) { return frame.reordered_opaque; }
#endif

/// Whether the flags of damaged frames arrive with several threads. With FFmpeg 5.1 and two threads, 121 to 141 of 200
/// frames of one clip passed as whole, of which 112 were.
constexpr bool threads_keep_flags = LIBAVCODEC_VERSION_MAJOR >= 61;

/// Nine numbers of a stream's display matrix; null without one.
inline const std::int32_t *display_matrix(const AVStream &stream) {
    constexpr std::size_t size = 9 * sizeof(std::int32_t);
#if LIBAVCODEC_VERSION_MAJOR >= 61
    const AVPacketSideData *data = av_packet_side_data_get(
        stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    return data != nullptr && data->size >= size ? reinterpret_cast<const std::int32_t *>(data->data) : nullptr;
#else
    for (int i = 0; i < stream.nb_side_data; ++i) {
        const AVPacketSideData &data = stream.side_data[i];
        if (data.type == AV_PKT_DATA_DISPLAYMATRIX && data.size >= size)
            return reinterpret_cast<const std::int32_t *>(data.data);
    }
    return nullptr;
#endif
}

/// The same of a frame.
inline const std::int32_t *display_matrix(const AVFrame &frame) {
    const AVFrameSideData *data = av_frame_get_side_data(&frame, AV_FRAME_DATA_DISPLAYMATRIX);
    if (data == nullptr || data->size < 9 * sizeof(std::int32_t)) return nullptr;
    return reinterpret_cast<const std::int32_t *>(data->data);
}

}  // namespace edgeproof::app::libav
