#include "sources/opening.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <functional>
#include <utility>

#include "edgeproof/failure.h"
#include "edgeproof/redact.h"
#include "edgeproof/spec.h"
#include "media/media.h"
#include "sources/adapted.h"
#include "sources/libav.h"
#include "sources/paths.h"
#include "sources/text.h"

namespace edgeproof::app {
namespace {

const std::string expected_source =
    "an image, a folder, a glob, a video file, - (standard input), a FIFO, a camera (0, /dev/video0), a URL (" +
    list_of(spec::schemes) + ") or a GStreamer pipeline ('... ! appsink')";
constexpr const char *address_fix =
    "check the address, the credentials and that the port is reachable from this machine";

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
        "run it with gst-launch-1.0 to see which element fails (autovideosink in place of appsink)", {});
}

/// Whether what follows a host is nothing, or a colon and a port below 65,536; the port may be missing.
bool is_port(const std::string &text) {
    constexpr std::size_t longest = 6;  // with its colon
    if (text.empty()) return true;
    if (text[0] != ':' || text.size() > longest || text.find_first_not_of("0123456789", 1) != std::string::npos)
        return false;
    return text.size() == 1 || std::stol(text.substr(1)) < 1 << 16;
}

/// Throw `Failure` (bad input) where an address has no valid port, mostly because of an unencoded password.
void check_port(const std::string &address, const std::string &name) {
    const std::size_t begin = address.find("://") + 3;
    const std::string authority = address.substr(begin, address.find_first_of("/?#", begin) - begin);
    const std::string host = authority.substr(authority.rfind('@') + 1);
    const std::size_t bracket = host.compare(0, 1, "[") == 0 ? host.find(']') : std::string::npos;  // IPv6
    if (bracket != std::string::npos && is_port(host.substr(bracket + 1))) return;
    if (is_port(host.substr(std::min(host.find(':'), host.size())))) return;
    throw bad_input(name + ": cannot open", "no valid host and port",
                    "host or host:port, the port from 1 to 65535",
                    "percent-encode a password: write / as %2F, # as %23, ? as %3F, @ as %40, : as %3A in a password");
}

std::unique_ptr<Source> open_url(const std::string &spec, const SourceOptions &options) {
    const std::string name = without_credentials(spec);
    const std::size_t colon = spec.find(':');
    const std::string scheme = lower(spec.substr(0, colon));
    if (!has_name(spec::schemes, scheme))
        throw bad_input(name + ": unsupported scheme", scheme + "://", expected_source);
    const std::string address = scheme + spec.substr(colon);
    check_port(address, name);
    return open_capture({Address::Kind::url, address, name, address_fix, options});
}

/// As `open_source`, without what is done to its frames.
std::unique_ptr<Source> opened(const std::string &spec, bool label_by_folder, const std::optional<Bands> &bands,
                               const SourceOptions &options) {
    const std::string device = "/dev/video";
    const bool is_device = spec.compare(0, device.size(), device) == 0 && is_number(spec.substr(device.size()));
    std::unique_ptr<Source> source;
    if (spec.empty()) throw bad_input("--source: empty", "''", expected_source);
    const bool is_pipeline = spec.find(" ! ") != std::string::npos;
    if (bands && (is_pipeline || is_url(spec) || is_device || is_number(spec) || is_standard_input(spec)))
        refuse_bands(redact_address(spec), *bands);
    if (is_pipeline || is_device || is_number(spec)) {
        const std::string kind = is_pipeline ? "a GStreamer pipeline" : "a camera";
        for (const auto &[given, option] : {std::pair(options.hardware_decode, "--hardware-decode"),
                                            std::pair(options.decode_threads != 0, "--decode-threads")}) {
            if (given)
                throw bad_input(kind + ": does not support " + option, {}, {}, std::string("leave ") + option + " out");
        }
    }
    if (is_pipeline) {
        source = open_pipeline(spec);
    } else if (is_url(spec)) {
        source = open_url(spec, options);
    } else if (is_device || is_number(spec)) {
        source = media().open_video(Media::Kind::camera, spec, is_device ? spec : "camera " + spec,
                                    "connect it, pass it through to the container, or choose one that is not in use", {});
    } else {
        source = open_path(spec, label_by_folder, bands, options, expected_source);
    }
    if (label_by_folder && !source->of_pictures)
        throw bad_input("--labels-from parent is for images", source->name, "a folder of images");
    return source;
}

/// Whether a source can be opened again: a pipe is read once.
bool reads_again(const std::string &spec) {
    std::error_code unknown;
    return !is_standard_input(spec) && !std::filesystem::is_fifo(spec, unknown);
}

}  // namespace

std::unique_ptr<Source> open_source(const std::string &given, bool label_by_folder,
                                    const std::optional<Bands> &bands, const SourceOptions &options) {
    const std::string spec = path_of(given);
    const std::function<std::unique_ptr<Source>()> open = [=] { return opened(spec, label_by_folder, bands, options); };
    return adapted(open(), options, reads_again(spec) ? open : nullptr);
}

}  // namespace edgeproof::app
