#include <algorithm>
#include <array>
#include <cctype>
#include <opencv2/imgcodecs.hpp>

#include "failure.h"
#include "files.h"
#include "jpeg.h"
#include "media.h"
#include "source.h"

namespace edgeproof::app {
namespace {

constexpr std::array<const char *, 11> suffixes = {".avif", ".bmp", ".jpe", ".jpeg", ".jpg", ".pgm",
                                                   ".png",  ".ppm", ".tif", ".tiff", ".webp"};

/// Whether libjpeg or libpng, which give half a picture for half a file, would find the end of this one.
bool is_complete(const std::string &data) {
    if (data.compare(0, 8, "\x89PNG\r\n\x1a\n") == 0) return data.find("IEND", data.size() - 8) != std::string::npos;
    if (data.compare(0, 3, "\xff\xd8\xff") != 0) return true;
    return jpeg_is_complete(data);
}

class PictureSource : public Source {
  public:
    PictureSource(const std::string &name_, std::filesystem::path root, std::vector<std::filesystem::path> files)
        : root_(std::move(root)), files_(std::move(files)) {
        name = name_;
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
        const std::string data = read_file(files_[index]);
        const std::int64_t captured = now_ns();
        if (data.empty() || !is_complete(data)) throw bad_input("is empty or truncated");
        cv::Mat image = decode_jpeg(data).value_or(cv::Mat());
        if (image.empty()) image = media().decode(data, cv::IMREAD_COLOR);
        if (image.empty()) throw bad_input("is not a picture that OpenCV can decode, or is damaged");
        const std::int64_t decoded = now_ns();
        return {image,
                static_cast<std::int64_t>(index),
                file,
                captured,
                static_cast<double>(captured - begin) / 1e6,
                static_cast<double>(decoded - captured) / 1e6};
    }

    std::filesystem::path root_;
    std::vector<std::filesystem::path> files_;
    std::size_t position_ = 0;
};

/// Whether `a` comes before `b`, numbers compared as numbers: frame2 before frame10.
bool natural_less(const std::string &a, const std::string &b) {
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    std::size_t i = 0;
    std::size_t j = 0;
    while (i < a.size() && j < b.size()) {
        if (!is_digit(a[i]) || !is_digit(b[j])) {
            if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
            ++i;
            ++j;
            continue;
        }
        const auto number = [&is_digit](const std::string &text, std::size_t &at) {
            while (at < text.size() && text[at] == '0') ++at;
            const std::size_t from = at;
            while (at < text.size() && is_digit(text[at])) ++at;
            return text.substr(from, at - from);
        };
        const std::string left = number(a, i);
        const std::string right = number(b, j);
        if (left != right) return left.size() != right.size() ? left.size() < right.size() : left < right;
    }
    return a.size() - i < b.size() - j;
}

}  // namespace

std::unique_ptr<Source> open_pictures(const std::string &name, const std::filesystem::path &root,
                                      std::vector<std::filesystem::path> files) {
    std::sort(files.begin(), files.end(),
              [](const auto &a, const auto &b) { return natural_less(a.generic_string(), b.generic_string()); });
    return std::make_unique<PictureSource>(name, root, std::move(files));
}

bool looks_like_picture(const std::filesystem::path &file) {
    std::string suffix = file.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
    if (std::find(suffixes.begin(), suffixes.end(), suffix) != suffixes.end()) return true;
    std::error_code ignored;
    return std::filesystem::is_regular_file(file, ignored) && media().has_reader(file.string());
}

}  // namespace edgeproof::app
