// Part of the library edgeproof-media.so: animated WebP, by libwebp.

#include "edgeproof/failure.h"
#include "media/parts.h"

#ifdef EDGEPROOF_WEBP
#include <webp/demux.h>

#include <opencv2/imgproc.hpp>

#include "edgeproof/spec.h"
#include "files.h"
#endif

namespace edgeproof::app {

#ifdef EDGEPROOF_WEBP
namespace {

struct Free {
    void operator()(WebPAnimDecoder *decoder) const { WebPAnimDecoderDelete(decoder); }
};

/// Frames as they are shown, without their alpha.
class WebpSource : public Source {
  public:
    WebpSource(const std::string &path, const std::string &name_) : data_(read_file(path)) {
        name = name_;
        WebPAnimDecoderOptions options;
        WebPAnimDecoderOptionsInit(&options);
        options.color_mode = MODE_BGRA;
        const WebPData data{reinterpret_cast<const std::uint8_t *>(data_.data()), data_.size()};
        decoder_.reset(WebPAnimDecoderNew(&data, &options));
        if (!decoder_ || WebPAnimDecoderGetInfo(decoder_.get(), &info_) == 0)
            throw bad_input(name + ": cannot open", "is an animated WebP that libwebp cannot decode");
    }

    std::optional<Captured> next() override {
        Captured frame;
        const std::int64_t begin = now_ns();
        std::uint8_t *pixels = nullptr;
        int ends_ms = 0;
        if (WebPAnimDecoderHasMoreFrames(decoder_.get()) == 0) return std::nullopt;
        if (WebPAnimDecoderGetNext(decoder_.get(), &pixels, &ends_ms) == 0) {
            skipped.push_back(name + ": gave " + std::to_string(index_) + " of " + std::to_string(info_.frame_count) +
                              " frames; it is cut off or damaged");
            return std::nullopt;
        }
        const cv::Mat shown(static_cast<int>(info_.canvas_height), static_cast<int>(info_.canvas_width), CV_8UC4,
                            pixels);
        cv::cvtColor(shown, frame.image, cv::COLOR_BGRA2BGR);
        frame.index = index_++;
        frame.name = name + "#" + std::to_string(frame.index);
        frame.captured_ns = now_ns();
        frame.decode_ms = ms_between(begin, frame.captured_ns);
        frame.media_ns = std::int64_t{1'000'000} * begins_ms_;
        begins_ms_ = ends_ms;
        return frame;
    }

  private:
    std::string data_;  ///< which the decoder reads
    std::unique_ptr<WebPAnimDecoder, Free> decoder_;
    WebPAnimInfo info_{};
    std::int64_t index_ = 0;
    int begins_ms_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_webp(const std::string &path, const std::string &name) {
    return std::make_unique<WebpSource>(path, name);
}
#else
std::unique_ptr<Source> open_webp(const std::string &, const std::string &name) {
    throw unavailable(name + ": requires libwebp", "a build without it", {},
                      "build edgeproof-run with libwebp-dev installed, or convert the file to GIF or MP4");
}
#endif

}  // namespace edgeproof::app
