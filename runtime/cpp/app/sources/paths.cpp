#include "sources/paths.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <utility>
#include <vector>

#include "edgeproof/failure.h"
#include "edgeproof/redact.h"
#include "edgeproof/spec.h"
#include "media/media.h"
#include "sources/animations.h"
#include "sources/libav.h"
#include "sources/opening.h"
#include "sources/playlist.h"
#include "sources/text.h"

namespace edgeproof::app {
namespace {

namespace fs = std::filesystem;

constexpr const char *video_fix =
    "check that another player opens it; copy it again, or convert it to H.264 in MP4";
constexpr const char *pipe_fix =
    "write a container that can be read in order, such as MPEG-TS (-f mpegts) or Matroska, to the pipe";

bool is_clip(const fs::path &file) {
    const std::string suffix = lower(file.extension().string());
    if (has_name(spec::animated_suffixes, suffix)) return animation_of(file) != Animation::none;
    return has_name(spec::video_suffixes, suffix);
}

std::unique_ptr<Source> open_file(const fs::path &file, const std::string &spec, bool label_by_folder,
                                  const std::optional<Bands> &bands, const SourceOptions &options) {
    std::error_code error;
    if (fs::file_size(file, error) == 0) throw bad_input(spec + ": empty file", "0 bytes", "an image or a video");
    const Animation animation = bands ? Animation::none : animation_of(file);
    if (animation == Animation::none && looks_like_picture(file, bands.has_value()))
        return open_pictures(spec, file.parent_path(), {file}, label_by_folder, {}, bands);
    if (bands) refuse_bands(spec, *bands);
    const std::string name = file.filename().string();
    if (animation == Animation::webp) return media().open_webp(file.string(), name);
    return open_capture({Address::Kind::file, file.string(), name, video_fix, options});
}

/// Images as images; with clips among them, all one after the other.
std::unique_ptr<Source> open_files(const std::string &spec, const fs::path &root, std::vector<fs::path> files,
                                   bool label_by_folder, const std::optional<Bands> &bands, const SourceOptions &options) {
    std::vector<fs::path> playable;
    std::vector<fs::path> others;
    bool clips = false;
    for (fs::path &file : files) {
        const bool clip = !bands && is_clip(file);
        clips = clips || clip;
        (clip || looks_like_picture(file, bands.has_value()) ? playable : others).push_back(std::move(file));
    }
    if (playable.empty())
        throw bad_input(spec + ": no images or videos", std::to_string(others.size()) + " other files",
                        "JPEG, MP4, ...");
    if (!clips) return open_pictures(spec, root, std::move(playable), label_by_folder, std::move(others), bands);
    std::sort(playable.begin(), playable.end(), natural_less);
    std::sort(others.begin(), others.end(), natural_less);
    return std::make_unique<Playlist>(spec, root, std::move(playable), others, [options](const fs::path &file) {
        return open_file(file, file.string(), false, std::nullopt, options);
    });
}

/// As `edgeproof_runtime.data.images.walk`: links are followed, but no folder is entered twice; a folder below that
/// cannot be read is one of the files.
std::vector<fs::path> files_of(const std::string &root) {
    std::vector<fs::path> files;
    std::vector<fs::path> folders{root};
    std::set<std::pair<dev_t, ino_t>> entered;
    while (!folders.empty()) {
        const fs::path folder = std::move(folders.back());
        folders.pop_back();
        struct stat status {};
        if (::stat(folder.c_str(), &status) == 0 && !entered.emplace(status.st_dev, status.st_ino).second) continue;
        std::error_code error;
        for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator(); entry.increment(error)) {
            if (entry->path().filename().string().front() == '.') continue;
            std::error_code unreadable;
            (entry->is_directory(unreadable) ? folders : files).push_back(entry->path());
        }
        if (error && folder == root)
            throw bad_input(root + ": cannot be read", error.message(), {}, "check who may read it");
        if (error) files.push_back(folder);
        if (files.size() > static_cast<std::size_t>(spec::max_source_images))
            throw bad_input(root + ": too many files", {}, "at most " + std::to_string(spec::max_source_images));
    }
    return files;
}

std::vector<fs::path> files_matching(const std::string &pattern) {
    std::vector<fs::path> files;
    glob_t found{};
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
        for (std::size_t i = 0; i < found.gl_pathc; ++i) {
            std::error_code ignored;
            if (fs::is_regular_file(found.gl_pathv[i], ignored)) files.emplace_back(found.gl_pathv[i]);
        }
    }
    ::globfree(&found);
    return files;
}

/// %d and %03d, FFmpeg's and OpenCV's way to name numbered images, as a star.
std::string as_glob(const std::string &spec) {
    std::string pattern;
    for (std::size_t i = 0; i < spec.size(); ++i) {
        const std::size_t end = spec[i] == '%' ? spec.find_first_not_of("0123456789", i + 1) : std::string::npos;
        const bool numbered = end != std::string::npos && spec[end] == 'd';
        pattern += numbered ? '*' : spec[i];
        if (numbered) i = end;
    }
    return pattern;
}

fs::path common_folder(const std::vector<fs::path> &files) {
    fs::path folder = files.front().parent_path();
    for (const fs::path &file : files) {
        const fs::path own = file.parent_path();
        const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), own.begin(), own.end());
        fs::path shared;
        for (auto part = folder.begin(); part != end; ++part) shared /= *part;
        folder = shared;
    }
    return folder;
}

int digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0 ? c - '0' : (c | 0x20) - 'a' + 10; }

/// Percent-encoded bytes (RFC 3986, 2.1) as they are.
std::string decoded(const std::string &text) {
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool encoded = text[i] == '%' && i + 2 < text.size() &&
                             std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
                             std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0;
        bytes += encoded ? static_cast<char>(16 * digit(text[i + 1]) + digit(text[i + 2])) : text[i];
        i += encoded ? 2 : 0;
    }
    return bytes;
}

}  // namespace

void refuse_bands(const std::string &name, const Bands &bands) {
    const std::string dtype(frame_dtype_names[static_cast<std::size_t>(bands.dtype)]);
    throw bad_input(name + ": the model takes frames of " + std::to_string(bands.channels) + " channels of " + dtype,
                    "a camera, stream or video, which gives 3 channels of uint8",
                    "files of as many channels: .npy, .tif, or .png with 4",
                    "pass a file or folder of such images");
}

bool is_standard_input(const std::string &spec) {
    return spec == "-" || spec == "pipe:" || spec == "pipe:0" || spec == "fd:" || spec == "fd:0";
}

std::string path_of(const std::string &spec) {
    constexpr std::size_t scheme = 7;
    if (!begins_in_any_case(spec, "file://")) return spec;
    const std::size_t slash = spec.find('/', scheme);
    const std::string host = spec.substr(scheme, slash - scheme);
    const bool has_path = slash != std::string::npos;
    if ((!host.empty() && lower(host) != "localhost") || !has_path) {
        const std::size_t user_end = spec.rfind('@');  // the host's user and password are left out
        const std::string shown = "file://" + spec.substr(user_end == std::string::npos ? scheme : user_end + 1);
        throw bad_input(redact_address(shown) + ": cannot open", has_path ? "a file of another host" : "no path",
                        "file:///PATH on this machine");
    }
    return decoded(spec.substr(scheme + host.size()));
}

std::unique_ptr<Source> open_path(const std::string &spec, bool label_by_folder, const std::optional<Bands> &bands,
                                  const SourceOptions &options, const std::string &expected) {
    if (is_standard_input(spec)) return open_capture({Address::Kind::pipe, "-", "standard input", pipe_fix, options});
    std::error_code error;
    const fs::path path(spec);
    if (fs::is_directory(path, error)) return open_files(spec, path, files_of(spec), label_by_folder, bands, options);
    if (fs::is_regular_file(path, error)) return open_file(path, spec, label_by_folder, bands, options);
    if (fs::is_fifo(path, error)) return open_capture({Address::Kind::pipe, spec, spec, pipe_fix, options});
    if (fs::exists(path, error)) throw bad_input(spec + ": not a regular file", {}, expected);
    if (spec.find_first_of("*?[") != std::string::npos) {
        const std::vector<fs::path> files = files_matching(spec);
        if (files.empty())
            throw bad_input(redact_address(spec) + ": no matching file", {}, {}, "quote the pattern and check the folder");
        if (files.size() == 1) return open_file(files.front(), files.front().string(), label_by_folder, bands, options);
        return open_files(spec, common_folder(files), files, label_by_folder, bands, options);
    }
    const std::string numbered = as_glob(spec);
    throw bad_input(redact_address(spec) + ": source not found", {}, expected,
                    numbered == spec ? "" : "write a glob: '" + redact_address(numbered) + "'");
}

}  // namespace edgeproof::app
