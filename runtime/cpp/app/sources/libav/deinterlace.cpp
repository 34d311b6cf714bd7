#include "sources/libav/deinterlace.h"

extern "C" {
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
}

#include <string>
#include <utility>

#include "sources/libav/compat.h"

namespace edgeproof::app::libav {
namespace {

/// One frame for each, the order of fields as flagged, and only flagged frames.
constexpr const char *settings = "mode=send_frame:parity=auto:deint=interlaced";

AVFilterContext *make(AVFilterGraph *graph, const char *filter, const char *arguments) {
    const AVFilter *found = avfilter_get_by_name(filter);
    if (found == nullptr) return nullptr;
    AVFilterContext *made = nullptr;
    return avfilter_graph_create_filter(&made, found, filter, arguments, nullptr, graph) < 0 ? nullptr : made;
}

std::string form_of(const AVFrame &frame) {
    std::string form = "video_size=" + std::to_string(frame.width) + "x" + std::to_string(frame.height) +
                       ":pix_fmt=" + std::to_string(frame.format) + ":time_base=1/1000000";
#if LIBAVFILTER_VERSION_MAJOR >= 10
    // Frames whose colours differ from the filter's would be converted.
    form += ":colorspace=" + std::to_string(frame.colorspace) + ":range=" + std::to_string(frame.color_range);
#endif
    return form;
}

}  // namespace

bool Deinterlacer::configure(const AVFrame &frame) {
    if (graph_ && frame.width == width_ && frame.height == height_ && frame.format == format_) return true;
    finish();
    if (!is_interlaced(frame)) return false;
    GraphHandle graph(avfilter_graph_alloc());
    if (!graph) return false;
    graph->nb_threads = 1;
    begin_ = make(graph.get(), "buffer", form_of(frame).c_str());
    end_ = make(graph.get(), "buffersink", nullptr);
    AVFilterContext *filter = make(graph.get(), "bwdif", settings);
    if (filter == nullptr) filter = make(graph.get(), "yadif", settings);
    if (begin_ == nullptr || end_ == nullptr || filter == nullptr || avfilter_link(begin_, 0, filter, 0) < 0 ||
        avfilter_link(filter, 0, end_, 0) < 0 || avfilter_graph_config(graph.get(), nullptr) < 0)
        return false;
    graph_ = std::move(graph);
    width_ = frame.width;
    height_ = frame.height;
    format_ = frame.format;
    return true;
}

void Deinterlacer::push(FrameHandle frame) {
    if ((!graph_ && !is_interlaced(*frame)) || !configure(*frame)) {
        ready_.push_back(std::move(frame));
        return;
    }
    if (av_buffersrc_add_frame(begin_, frame.get()) >= 0) collect();
}

void Deinterlacer::finish() {
    if (!graph_) return;
    if (av_buffersrc_add_frame(begin_, nullptr) >= 0) collect();
    graph_.reset();
}

void Deinterlacer::collect() {
    for (FrameHandle frame(av_frame_alloc()); frame; frame.reset(av_frame_alloc())) {
        if (av_buffersink_get_frame(end_, frame.get()) < 0) return;
        ready_.push_back(std::move(frame));
    }
}

FrameHandle Deinterlacer::pull() {
    if (ready_.empty()) return nullptr;
    FrameHandle frame = std::move(ready_.front());
    ready_.pop_front();
    return frame;
}

}  // namespace edgeproof::app::libav
