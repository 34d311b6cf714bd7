#include "source.h"

#include <chrono>
#include <regex>

#include "failure.h"
#include "media.h"

namespace edgeproof::app {
namespace {

constexpr const char *expected_source =
    "a picture, a folder, a video file, a camera (0, /dev/video0), a URL (rtsp://, http://, ...) or a GStreamer "
    "pipeline "
    "('... ! appsink')";

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
    return media().open_video(Media::Kind::file, spec, path.filename().string(),
                              "check that it plays elsewhere; copy it again, or convert it to H.264 in MP4");
}

std::unique_ptr<Source> open_pipeline(const std::string &spec) {
    if (!std::regex_search(spec, std::regex("!\\s*appsink\\b"))) {
        throw bad_input("the GStreamer pipeline does not end where OpenCV can take its frames", spec,
                        "... ! videoconvert ! video/x-raw,format=BGR ! appsink");
    }
    return media().open_video(
        Media::Kind::pipeline, spec, "GStreamer pipeline",
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
        return media().open_video(Media::Kind::url, spec, without_credentials(spec),
                                  "check the address, the credentials and that the port can be reached from here");
    }
    if (std::regex_match(spec, std::regex("[0-9]{1,4}")))
        return media().open_video(Media::Kind::camera, spec, "camera " + spec, camera_fix);
    if (std::regex_match(spec, std::regex("/dev/video[0-9]+")))
        return media().open_video(Media::Kind::camera, spec, spec, camera_fix);
    return open_path(spec);
}

std::string without_credentials(const std::string &url) {
    const std::size_t host = url.find("://") + 3;
    const std::string rest = url.substr(host, url.find_first_of("?#", host) - host);
    const std::size_t at = rest.substr(0, rest.find('/')).rfind('@');
    return url.substr(0, host) + (at == std::string::npos ? rest : rest.substr(at + 1));
}

}  // namespace edgeproof::app
