// Part of the library edgeproof-media.so: video files, cameras, network streams and pipelines.

#include <algorithm>
#include <cstdlib>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>
#include <vector>

#include "edgeproof/capture.h"
#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "media/parts.h"
#include "sources/jpeg.h"

namespace edgeproof::app {

namespace {

/// Tell FFmpeg to hand over the JPEGs of a Motion JPEG video as they are; whether it does. Its decoder would make up
/// what a damaged image lacks, and scale every frame to the size of the first.
bool gives_jpeg(cv::VideoCapture &capture) {
    if (capture.getBackendName() != "FFMPEG") return false;
    const int fourcc = static_cast<int>(capture.get(cv::CAP_PROP_FOURCC));
    const bool motion_jpeg =
        fourcc == cv::VideoWriter::fourcc('M', 'J', 'P', 'G') || fourcc == cv::VideoWriter::fourcc('m', 'j', 'p', 'g');
    return motion_jpeg && capture.set(cv::CAP_PROP_FORMAT, -1);
}

class VideoSource : public Source {
  public:
    VideoSource(cv::VideoCapture capture, const std::string &name_, Media::Kind kind, const TimeLimits &limits)
        : capture_(std::move(capture)), stamped_(capture_.getBackendName() == "V4L2"), jpeg_(gives_jpeg(capture_)) {
        name = name_;
        // Streams claim nonsense: no frames, negative ones, or more than any file has.
        const double count = capture_.get(cv::CAP_PROP_FRAME_COUNT);
        const bool counted = kind == Media::Kind::file || kind == Media::Kind::url;
        if (counted && count > 0 && count < static_cast<double>(spec::max_frame_count))
            frame_count = static_cast<std::int64_t>(count);
        live = kind != Media::Kind::file && !frame_count;
        const double rate = capture_.get(cv::CAP_PROP_FPS);
        if (rate > 0 && rate <= spec::max_fps) fps = rate;
        grabs_.emplace(frame_count, limits.read_s);
    }

    std::optional<Captured> next() override {
        while (true) {
            const std::int64_t begin = now_ns();
            const bool grabbed = capture_.grab();
            const std::int64_t arrived = now_ns();
            if (!grabbed) {
                if (grabs_->failed(static_cast<double>(arrived - begin) / 1e9)) break;
                continue;
            }
            Captured frame;
            frame.image = retrieve();
            const std::int64_t decoded = now_ns();
            frame.index = grabs_->grabbed(!frame.image.empty());
            if (frame.image.empty()) continue;
            frame.name = name + "#" + std::to_string(frame.index);
            frame.captured_ns = stamped_ ? stamped_ns(capture_.get(cv::CAP_PROP_POS_MSEC), arrived) : arrived;
            frame.capture_ms = std::max(0.0, ms_between(begin, frame.captured_ns));
            frame.decode_ms = ms_between(arrived, decoded);
            return frame;
        }
        for (const std::string &loss : grabs_->losses(live)) skipped.push_back(name + ": " + loss);
        return std::nullopt;
    }

  private:
    /// The grabbed frame's pixels; empty where it cannot be decoded.
    cv::Mat retrieve() {
        cv::Mat image;
        if (!capture_.retrieve(image)) return {};
        if (!jpeg_ || image.empty()) return image;
        const std::string data(reinterpret_cast<const char *>(image.data), image.total() * image.elemSize());
        if (!jpeg_is_complete(data)) return {};
        try {
            return media().decode(data, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
        } catch (const cv::Exception &) {
            return {};
        }
    }

    cv::VideoCapture capture_;
    bool stamped_;  ///< by the driver
    bool jpeg_;     ///< it hands over the JPEGs of a Motion JPEG video
    std::optional<GrabCount> grabs_;
};

std::vector<int> backends_of(Media::Kind kind) {
    switch (kind) {
        case Media::Kind::url: return {cv::CAP_FFMPEG, cv::CAP_GSTREAMER};
        case Media::Kind::camera: return {cv::CAP_V4L2, cv::CAP_ANY};
        case Media::Kind::pipeline: return {cv::CAP_GSTREAMER};
        case Media::Kind::file: break;
    }
    // GStreamer, one of CAP_ANY, waits for ever for the end of some files.
    const std::vector<cv::VideoCaptureAPIs> known = cv::videoio_registry::getStreamBackends();
    if (std::find(known.begin(), known.end(), cv::CAP_FFMPEG) == known.end()) return {cv::CAP_ANY};
    return {cv::CAP_FFMPEG, cv::CAP_OPENCV_MJPEG, cv::CAP_IMAGES};
}

bool open(cv::VideoCapture &capture, const std::string &target, bool by_number, int backend,
          const TimeLimits &limits) {
    try {
        if (by_number) return capture.open(std::stoi(target), backend);
        if (backend != cv::CAP_FFMPEG) return capture.open(target, backend);
        return capture.open(
            target, backend,
            {cv::CAP_PROP_OPEN_TIMEOUT_MSEC, static_cast<int>(limits.open_s * 1e3), cv::CAP_PROP_READ_TIMEOUT_MSEC,
             static_cast<int>(limits.read_s * 1e3)});
    } catch (const cv::Exception &) {
        return false;
    }
}

}  // namespace

std::unique_ptr<Source> open_video(Media::Kind kind, const std::string &target, const std::string &name,
                                   const std::string &fix, const TimeLimits &limits) {
    // FFmpeg's own lines on stderr name no file.
    ::setenv("OPENCV_FFMPEG_LOGLEVEL", "-8", 0);
    const bool camera = kind == Media::Kind::camera;
    const bool by_number = camera && target.find_first_not_of("0123456789") == std::string::npos;
    std::string tried;
    for (const int backend : backends_of(kind)) {
        tried += (tried.empty() ? "" : ", ") +
                 (backend == cv::CAP_ANY ? "any" : cv::videoio_registry::getBackendName(cv::VideoCaptureAPIs(backend)));
        cv::VideoCapture capture;
        if (open(capture, target, by_number, backend, limits))
            return std::make_unique<VideoSource>(std::move(capture), name, kind, limits);
    }
    throw bad_input(name + ": cannot open",
                    std::string("refused by OpenCV ") + cv::getVersionString() + " (tried: " + tried + ")",
                    "a video that decodes, a camera that is connected, or a stream that answers", fix);
}

}  // namespace edgeproof::app
