#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace edgeproof::app::libav {

// FFmpeg's objects, each freed by the function that FFmpeg has for it.

struct Free {
    void operator()(AVFormatContext *context) const { avformat_close_input(&context); }
    void operator()(AVCodecContext *context) const { avcodec_free_context(&context); }
    void operator()(AVPacket *packet) const { av_packet_free(&packet); }
    void operator()(AVFrame *frame) const { av_frame_free(&frame); }
    void operator()(AVFilterGraph *graph) const { avfilter_graph_free(&graph); }
    void operator()(SwsContext *context) const { sws_freeContext(context); }
};

using FormatHandle = std::unique_ptr<AVFormatContext, Free>;
using CodecHandle = std::unique_ptr<AVCodecContext, Free>;
using PacketHandle = std::unique_ptr<AVPacket, Free>;
using FrameHandle = std::unique_ptr<AVFrame, Free>;
using GraphHandle = std::unique_ptr<AVFilterGraph, Free>;
using ScalerHandle = std::unique_ptr<SwsContext, Free>;

/// Options by name, as FFmpeg's functions take them and give back what they did not use.
class Dictionary {
  public:
    Dictionary() = default;
    ~Dictionary() { av_dict_free(&entries); }
    Dictionary(const Dictionary &) = delete;
    Dictionary &operator=(const Dictionary &) = delete;

    void set(const char *name, const std::string &value) { av_dict_set(&entries, name, value.c_str(), 0); }

    AVDictionary *entries = nullptr;
};

}  // namespace edgeproof::app::libav
