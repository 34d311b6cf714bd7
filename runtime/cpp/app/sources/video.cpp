// Part of the library edgeproof-media.so: video files, cameras, network streams and pipelines.

#include <algorithm>
#include <cstdlib>
#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>
#include <vector>

#include "edgeproof/failure.h"
#include "media/parts.h"

namespace edgeproof::app {

namespace {

constexpr int network_timeout_ms = 10'000;
constexpr double largest_rate = 1000.0;      // what is above it is a clock's resolution
constexpr double largest_frame_count = 1e9;  // streams claim more than any file has

class VideoSource : public Source {
  public:
    VideoSource(cv::VideoCapture capture, const std::string &name_, Media::Kind kind) : capture_(std::move(capture)) {
        name = name_;
        const double count = capture_.get(cv::CAP_PROP_FRAME_COUNT);
        if (kind != Media::Kind::camera && count > 0 && count < largest_frame_count)
            frame_count = static_cast<std::int64_t>(count);
        live = kind != Media::Kind::file && !frame_count;
        const double rate = capture_.get(cv::CAP_PROP_FPS);
        if (rate > 0 && rate <= largest_rate) fps = rate;
    }

    std::optional<Captured> next() override {
        while (true) {
            const std::int64_t begin = now_ns();
            if (!capture_.grab()) break;
            const std::int64_t captured = now_ns();
            Captured frame;
            const bool decoded = capture_.retrieve(frame.image);
            frame.index = index_++;
            if (!decoded || frame.image.empty()) {
                ++undecodable_;
                continue;
            }
            frame.name = name + "#" + std::to_string(frame.index);
            frame.captured_ns = captured;
            frame.capture_ms = static_cast<double>(captured - begin) / 1e6;
            frame.decode_ms = static_cast<double>(now_ns() - captured) / 1e6;
            return frame;
        }
        report_end();
        return std::nullopt;
    }

  private:
    void report_end() {
        if (undecodable_ > 0)
            skipped.push_back(name + ": " + std::to_string(undecodable_) + " frames could not be decoded");
        if (live) {
            skipped.push_back(name + ": stopped giving frames after " + std::to_string(index_));
            return;
        }
        if (!frame_count) return;
        // Containers round their frame count; a file that was cut off lacks far more.
        if (*frame_count - index_ > std::max<std::int64_t>(2, *frame_count / 100)) {
            skipped.push_back(name + ": ended after " + std::to_string(index_) + " of " + std::to_string(*frame_count) +
                              " frames; it is cut off or damaged");
        }
    }

    cv::VideoCapture capture_;
    std::int64_t index_ = 0;
    std::int64_t undecodable_ = 0;
};

std::vector<int> backends_of(Media::Kind kind) {
    switch (kind) {
        case Media::Kind::url: return {cv::CAP_FFMPEG, cv::CAP_GSTREAMER};
        case Media::Kind::camera: return {cv::CAP_V4L2, cv::CAP_ANY};
        case Media::Kind::pipeline: return {cv::CAP_GSTREAMER};
        case Media::Kind::file: break;
    }
    return {cv::CAP_ANY};
}

bool open(cv::VideoCapture &capture, const std::string &target, bool by_number, int backend) {
    try {
        if (by_number) return capture.open(std::stoi(target), backend);
        if (backend != cv::CAP_FFMPEG) return capture.open(target, backend);
        return capture.open(
            target, backend,
            {cv::CAP_PROP_OPEN_TIMEOUT_MSEC, network_timeout_ms, cv::CAP_PROP_READ_TIMEOUT_MSEC, network_timeout_ms});
    } catch (const cv::Exception &) {
        return false;
    }
}

}  // namespace

std::unique_ptr<Source> open_video(Media::Kind kind, const std::string &target, const std::string &name,
                                   const std::string &fix) {
    // FFmpeg's own lines on stderr name no file.
    ::setenv("OPENCV_FFMPEG_LOGLEVEL", "-8", 0);
    const bool camera = kind == Media::Kind::camera;
    const bool by_number = camera && target.find_first_not_of("0123456789") == std::string::npos;
    std::string tried;
    for (const int backend : backends_of(kind)) {
        tried += (tried.empty() ? "" : ", ") +
                 (backend == cv::CAP_ANY ? "any" : cv::videoio_registry::getBackendName(cv::VideoCaptureAPIs(backend)));
        cv::VideoCapture capture;
        if (open(capture, target, by_number, backend))
            return std::make_unique<VideoSource>(std::move(capture), name, kind);
    }
    throw bad_input("cannot open " + name,
                    std::string("refused by OpenCV ") + cv::getVersionString() + " (tried: " + tried + ")",
                    "a video that decodes, a camera that is connected, or a stream that answers", fix);
}

}  // namespace edgeproof::app
