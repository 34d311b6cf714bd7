#include "source.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>
#include <regex>

#include "failure.h"

namespace edgeproof::app {
namespace {

constexpr int network_timeout_ms = 10'000;
constexpr double largest_frame_count = 1e9;  // streams claim more than any file has
constexpr const char *expected_source =
    "a picture, a folder, a video file, a camera (0, /dev/video0), a URL (rtsp://, http://, ...) or a GStreamer "
    "pipeline "
    "('... ! appsink')";

class VideoSource : public Source {
  public:
    VideoSource(cv::VideoCapture capture, const std::string &name_, bool camera) : capture_(std::move(capture)) {
        name = name_;
        const double count = capture_.get(cv::CAP_PROP_FRAME_COUNT);
        if (!camera && count > 0 && count < largest_frame_count) frame_count = static_cast<std::int64_t>(count);
        live = !frame_count;
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
        if (!frame_count) {
            skipped.push_back(name + ": stopped giving frames after " + std::to_string(index_));
            return;
        }
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

template <class Target>
std::unique_ptr<Source> open_video(const Target &target, const std::string &name, const std::vector<int> &backends,
                                   bool camera, const std::string &fix) {
    // FFmpeg's own lines on stderr name no file.
    ::setenv("OPENCV_FFMPEG_LOGLEVEL", "-8", 0);
    std::string tried;
    for (const int backend : backends) {
        tried += (tried.empty() ? "" : ", ") +
                 (backend == cv::CAP_ANY ? "any" : cv::videoio_registry::getBackendName(cv::VideoCaptureAPIs(backend)));
        cv::VideoCapture capture;
        try {
            if (backend == cv::CAP_FFMPEG) {
                capture.open(target, backend,
                             {cv::CAP_PROP_OPEN_TIMEOUT_MSEC, network_timeout_ms, cv::CAP_PROP_READ_TIMEOUT_MSEC,
                              network_timeout_ms});
            } else {
                capture.open(target, backend);
            }
        } catch (const cv::Exception &) {
            continue;
        }
        if (capture.isOpened()) return std::make_unique<VideoSource>(std::move(capture), name, camera);
    }
    throw bad_input("cannot open " + name,
                    std::string("refused by OpenCV ") + cv::getVersionString() + " (tried: " + tried + ")",
                    "a video that decodes, a camera that is connected, or a stream that answers", fix);
}

std::unique_ptr<Source> open_path(const std::string &spec) {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path path(spec);
    if (fs::is_directory(path, error)) {
        std::vector<fs::path> pictures;
        const auto options = fs::directory_options::skip_permission_denied;
        for (auto entry = fs::recursive_directory_iterator(path, options, error);
             !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
            const bool hidden = entry->path().filename().string().front() == '.';
            if (hidden && entry->is_directory(error)) entry.disable_recursion_pending();
            if (!hidden && entry->is_regular_file(error) && looks_like_picture(entry->path()))
                pictures.push_back(entry->path());
        }
        if (pictures.empty()) throw bad_input("no pictures in " + spec, "other files, or none", "JPEG, PNG, ...");
        return open_pictures(spec, path, std::move(pictures));
    }
    if (!fs::exists(path, error))
        throw bad_input("there is no source " + spec, "nothing of this name", expected_source);
    if (fs::is_regular_file(path, error) && fs::file_size(path, error) == 0)
        throw bad_input(spec + " is empty", "0 bytes", "a picture or a video");
    if (looks_like_picture(path)) return open_pictures(spec, path.parent_path(), {path});
    return open_video(spec, path.filename().string(), {cv::CAP_ANY}, false,
                      "check that it plays elsewhere; copy it again, or convert it to H.264 in MP4");
}

std::unique_ptr<Source> open_pipeline(const std::string &spec) {
    if (!std::regex_search(spec, std::regex("!\\s*appsink\\b"))) {
        throw bad_input("the GStreamer pipeline does not end where OpenCV can take its frames", spec,
                        "... ! videoconvert ! video/x-raw,format=BGR ! appsink");
    }
    return open_video(spec, "GStreamer pipeline", {cv::CAP_GSTREAMER}, false,
                      "run it with gst-launch-1.0 to see which element fails (autovideosink in place of appsink)");
}

}  // namespace

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::unique_ptr<Source> open_source(const std::string &spec) {
    static const char *camera_fix = "connect it, pass it through to the container, or choose one that is not in use";
    if (spec.empty()) throw bad_input("no source was given", "''", expected_source);
    if (spec.find(" ! ") != std::string::npos) return open_pipeline(spec);
    if (std::regex_match(spec, std::regex("[a-zA-Z][a-zA-Z0-9+.-]*://.*"))) {
        return open_video(spec, without_credentials(spec), {cv::CAP_FFMPEG, cv::CAP_GSTREAMER}, false,
                          "check the address, the credentials and that the port can be reached from here");
    }
    const std::vector<int> camera{cv::CAP_V4L2, cv::CAP_ANY};
    if (std::regex_match(spec, std::regex("[0-9]{1,4}")))
        return open_video(std::stoi(spec), "camera " + spec, camera, true, camera_fix);
    if (std::regex_match(spec, std::regex("/dev/video[0-9]+"))) return open_video(spec, spec, camera, true, camera_fix);
    return open_path(spec);
}

std::string without_credentials(const std::string &url) {
    const std::size_t host = url.find("://") + 3;
    const std::string rest = url.substr(host, url.find_first_of("?#", host) - host);
    const std::size_t at = rest.substr(0, rest.find('/')).rfind('@');
    return url.substr(0, host) + (at == std::string::npos ? rest : rest.substr(at + 1));
}

}  // namespace edgeproof::app
