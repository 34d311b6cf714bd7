#include <algorithm>
#include <fstream>
#include <opencv2/imgcodecs.hpp>

#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "files.h"
#include "media/media.h"
#include "sources/jpeg.h"
#include "sources/opening.h"
#include "sources/text.h"

namespace edgeproof::app {
namespace {

/// Chunk by chunk (PNG specification, 5.3), as something may follow the end.
bool png_is_complete(const std::string &data) {
    for (std::size_t at = 8; data.size() >= 12 && at <= data.size() - 12;) {
        std::size_t length = 0;
        for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(data[at + i]);
        if (data.compare(at + 4, 4, "IEND") == 0) return true;
        if (length > data.size()) return false;
        at += 12 + length;
    }
    return false;
}

/// Whether libjpeg or libpng, which give half an image for half a file, would find the end of this one.
bool is_complete(const std::string &data) {
    if (data.compare(0, 8, "\x89PNG\r\n\x1a\n") == 0) return png_is_complete(data);
    if (data.compare(0, 3, "\xff\xd8\xff") != 0) return true;
    return jpeg_is_complete(data);
}

/// Whether a file begins as a container of videos does: MP4 and MOV (but not AVIF and HEIF), Matroska and WebM, AVI.
bool begins_like_a_video(const std::filesystem::path &file) {
    std::string head(12, '\0');
    std::ifstream(file, std::ios::binary).read(head.data(), static_cast<std::streamsize>(head.size()));
    const std::string brand = head.substr(8);
    if (head.compare(4, 4, "ftyp") == 0)
        return brand.compare(0, 3, "avi") != 0 && brand.compare(0, 3, "mif") != 0 && brand.compare(0, 3, "msf") != 0 &&
               brand.compare(0, 2, "he") != 0;
    return head.compare(0, 4, "\x1a\x45\xdf\xa3") == 0 || (head.compare(0, 4, "RIFF") == 0 && brand == "AVI ");
}

class PictureSource : public Source {
  public:
    PictureSource(const std::string &name_, std::filesystem::path root, std::vector<std::filesystem::path> files,
                  bool label_by_folder, const std::optional<Bands> &bands)
        : root_(std::move(root)), files_(std::move(files)), label_by_folder_(label_by_folder), bands_(bands) {
        name = name_;
        of_pictures = true;
        frame_count = static_cast<std::int64_t>(files_.size());
    }

    std::optional<Captured> next() override {
        while (position_ < files_.size()) {
            const std::size_t index = position_++;
            const std::string file = files_[index].lexically_relative(root_).generic_string();
            try {
                return read(index, file);
            } catch (const Failure &failure) {
                skipped.push_back(file + ": " + failure.what());
            } catch (const cv::Exception &error) {
                skipped.push_back(file + " cannot be decoded: " + error.err);
            }
        }
        return std::nullopt;
    }

  private:
    Captured read(std::size_t index, const std::string &file) const {
        const std::int64_t begin = now_ns();
        std::error_code unknown;
        if (!std::filesystem::is_regular_file(files_[index], unknown)) throw bad_input("is not a regular file");
        if (std::filesystem::file_size(files_[index]) > static_cast<std::uintmax_t>(spec::max_image_bytes))
            throw bad_input("is too large for an image");
        const std::string data = read_file(files_[index]);
        const std::int64_t captured = now_ns();
        if (data.empty() || !is_complete(data)) throw bad_input("is empty or truncated");
        cv::Mat image = bands_ ? decode_bands(data, *bands_) : decode_jpeg(data).value_or(cv::Mat());
        if (image.empty()) image = media().decode(data, cv::IMREAD_COLOR);
        if (image.empty()) throw bad_input("is not an image that OpenCV can decode, or is damaged");
        const std::int64_t decoded = now_ns();
        return {image,
                static_cast<std::int64_t>(index),
                file,
                captured,
                ms_between(begin, captured),
                ms_between(captured, decoded),
                label_of(files_[index]),
                std::nullopt,
                {},
                std::nullopt};
    }

    std::optional<std::string> label_of(const std::filesystem::path &file) const {
        if (!label_by_folder_) return std::nullopt;
        return std::filesystem::canonical(file).parent_path().filename().string();
    }

    std::filesystem::path root_;
    std::vector<std::filesystem::path> files_;
    bool label_by_folder_;
    std::optional<Bands> bands_;
    std::size_t position_ = 0;
};

/// One name's next run of digits, or of anything else, from `at` on.
std::string run_of(const std::string &name, std::size_t &at, bool digits) {
    constexpr const char *all = "0123456789";
    const std::size_t end = digits ? name.find_first_not_of(all, at) : name.find_first_of(all, at);
    const std::string run = name.substr(at, end == std::string::npos ? end : end - at);
    at += run.size();
    return run;
}

/// Negative, 0 or positive as `a` comes before, with or after `b`; numbers compare as numbers: frame2 before frame10.
int compare_names(const std::string &a, const std::string &b) {
    std::size_t i = 0;
    std::size_t j = 0;
    for (bool digits = false;; digits = !digits) {
        std::string left = run_of(a, i, digits);
        std::string right = run_of(b, j, digits);
        if (digits) {
            if (left.empty() || right.empty()) return static_cast<int>(right.empty()) - static_cast<int>(left.empty());
            left.erase(0, std::min(left.find_first_not_of('0'), left.size()));
            right.erase(0, std::min(right.find_first_not_of('0'), right.size()));
            if (left.size() != right.size()) return left.size() < right.size() ? -1 : 1;
        }
        if (const int order = left.compare(right); order != 0) return order;
    }
}

}  // namespace

// As `edgeproof_runtime.data.images.natural_order`.
bool natural_less(const std::filesystem::path &a, const std::filesystem::path &b) {
    auto i = a.begin();
    auto j = b.begin();
    for (; i != a.end() && j != b.end(); ++i, ++j)
        if (const int order = compare_names(i->string(), j->string()); order != 0) return order < 0;
    return i == a.end() && j != b.end();
}

std::string why_left_out(const std::filesystem::path &path, const char *otherwise) {
    std::error_code ignored;
    return std::filesystem::is_directory(path, ignored) ? "a folder that cannot be read" : otherwise;
}

std::unique_ptr<Source> open_pictures(const std::string &name, const std::filesystem::path &root,
                                      std::vector<std::filesystem::path> files, bool label_by_folder,
                                      std::vector<std::filesystem::path> others, const std::optional<Bands> &bands) {
    std::sort(files.begin(), files.end(), natural_less);
    std::sort(others.begin(), others.end(), natural_less);
    auto source = std::make_unique<PictureSource>(name, root, std::move(files), label_by_folder, bands);
    for (const std::filesystem::path &other : others)
        source->skipped.push_back(other.lexically_relative(root).generic_string() + ": " +
                                  why_left_out(other, "is not an image"));
    return source;
}

bool looks_like_picture(const std::filesystem::path &file, bool bands) {
    const std::string suffix = lower(file.extension().string());
    if (has_name(spec::motion_jpeg_suffixes, suffix)) return false;  // it begins like an image, and goes on
    if (bands && suffix == ".npy") return true;
    if (has_name(spec::image_suffixes, suffix)) return true;
    std::error_code ignored;
    // The question loads OpenCV's codecs, which FFmpeg's videos do not need.
    return std::filesystem::is_regular_file(file, ignored) && !begins_like_a_video(file) &&
           media().has_reader(file.string());
}

}  // namespace edgeproof::app
