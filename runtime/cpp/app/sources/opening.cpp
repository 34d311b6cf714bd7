#include "sources/opening.h"

#include <algorithm>
#include <cctype>

#include "edgeproof/failure.h"
#include "edgeproof/redact.h"
#include "edgeproof/spec.h"
#include "media/media.h"

namespace edgeproof::app {
namespace {

constexpr const char *expected_source =
    "a picture, a folder, a video file, a camera (0, /dev/video0), a URL (rtsp://, http://, ...) or a GStreamer "
    "pipeline "
    "('... ! appsink')";

Failure three_channels(const std::string &name, const Bands &bands) {
    const std::string dtype(frame_dtype_names[static_cast<std::size_t>(bands.dtype)]);
    return bad_input(name + ": the model takes frames of " + std::to_string(bands.channels) + " channels of " + dtype,
                     "a camera, stream or video, which gives 3 channels of uint8",
                     "files of as many channels: .npy, .tif, or .png with 4",
                     "pass a file or folder of such images");
}

std::unique_ptr<Source> open_folder(const std::string &spec, bool label_by_folder,
                                    const std::optional<Bands> &bands) {
    namespace fs = std::filesystem;
    std::vector<fs::path> pictures;
    std::vector<fs::path> others;
    std::error_code error;
    auto entry = fs::recursive_directory_iterator(spec, fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        std::error_code unreadable;
        const bool folder = entry->is_directory(unreadable);
        if (entry->path().filename().string().front() == '.') {
            if (folder) entry.disable_recursion_pending();
        } else if (!folder) {
            (looks_like_picture(entry->path(), bands.has_value()) ? pictures : others).push_back(entry->path());
            if (pictures.size() + others.size() > static_cast<std::size_t>(spec::max_source_images))
                throw bad_input(spec + ": too many files", {}, "at most " + std::to_string(spec::max_source_images));
        }
    }
    if (error) throw bad_input("the folder " + spec + " cannot be read", error.message());
    if (pictures.empty())
        throw bad_input("no pictures in " + spec, std::to_string(others.size()) + " other files", "JPEG, PNG, ...");
    return open_pictures(spec, spec, std::move(pictures), label_by_folder, std::move(others), bands);
}

std::unique_ptr<Source> open_path(const std::string &spec, bool label_by_folder,
                                  const std::optional<Bands> &bands) {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path path(spec);
    if (fs::is_directory(path, error)) return open_folder(spec, label_by_folder, bands);
    if (!fs::exists(path, error))
        throw bad_input("there is no source " + redact_address(spec), "nothing of this name", expected_source);
    if (!fs::is_regular_file(path, error))  // a FIFO would be waited for
        throw bad_input(spec + " is no regular file", {}, expected_source);
    if (fs::file_size(path, error) == 0)
        throw bad_input(spec + " is empty", "0 bytes", "a picture or a video");
    if (looks_like_picture(path, bands.has_value()))
        return open_pictures(spec, path.parent_path(), {path}, label_by_folder, {}, bands);
    if (bands) throw three_channels(spec, *bands);
    return media().open_video(Media::Kind::file, spec, path.filename().string(),
                              "check that it plays elsewhere; copy it again, or convert it to H.264 in MP4");
}

bool ends_in_appsink(const std::string &pipeline) {
    const std::string name = "appsink";
    for (std::size_t at = pipeline.find(name); at != std::string::npos; at = pipeline.find(name, at + 1)) {
        const std::size_t before = pipeline.find_last_not_of(" \t\n", at - 1);
        const std::size_t after = at + name.size();
        const bool whole = after == pipeline.size() ||
                           (std::isalnum(static_cast<unsigned char>(pipeline[after])) == 0 && pipeline[after] != '_');
        if (at > 0 && before != std::string::npos && pipeline[before] == '!' && whole) return true;
    }
    return false;
}

/// "scheme://...", as RFC 3986 writes it.
bool is_url(const std::string &spec) {
    const std::size_t colon = spec.find("://");
    const auto fits = [](unsigned char c) { return std::isalnum(c) != 0 || c == '+' || c == '.' || c == '-'; };
    return colon != std::string::npos && colon > 0 && std::isalpha(static_cast<unsigned char>(spec[0])) != 0 &&
           std::all_of(spec.begin(), spec.begin() + static_cast<std::ptrdiff_t>(colon), fits);
}

bool is_number(const std::string &text) {
    return !text.empty() && text.size() <= 4 && text.find_first_not_of("0123456789") == std::string::npos;
}

std::unique_ptr<Source> open_pipeline(const std::string &spec) {
    if (!ends_in_appsink(spec)) {
        throw bad_input("the GStreamer pipeline does not end where OpenCV can take its frames", spec,
                        "... ! videoconvert ! video/x-raw,format=BGR ! appsink");
    }
    return media().open_video(
        Media::Kind::pipeline, spec, "GStreamer pipeline",
        "run it with gst-launch-1.0 to see which element fails (autovideosink in place of appsink)");
}

}  // namespace

std::unique_ptr<Source> open_source(const std::string &spec, bool label_by_folder,
                                    const std::optional<Bands> &bands) {
    const std::string device = "/dev/video";
    const bool is_device = spec.compare(0, device.size(), device) == 0 && is_number(spec.substr(device.size()));
    std::unique_ptr<Source> source;
    if (spec.empty()) throw bad_input("no source was given", "''", expected_source);
    const bool is_pipeline = spec.find(" ! ") != std::string::npos;
    if (bands && (is_pipeline || is_url(spec) || is_device || is_number(spec)))
        throw three_channels(redact_address(spec), *bands);
    if (is_pipeline) {
        source = open_pipeline(spec);
    } else if (is_url(spec)) {
        source = media().open_video(Media::Kind::url, spec, without_credentials(spec),
                                    "check the address, the credentials and that the port can be reached from here");
    } else if (is_device || is_number(spec)) {
        source = media().open_video(Media::Kind::camera, spec, is_device ? spec : "camera " + spec,
                                    "connect it, pass it through to the container, or choose one that is not in use");
    } else {
        source = open_path(spec, label_by_folder, bands);
    }
    if (label_by_folder && !source->of_pictures)
        throw bad_input("--labels-from parent is for pictures", source->name, "a folder of pictures");
    return source;
}

}  // namespace edgeproof::app
