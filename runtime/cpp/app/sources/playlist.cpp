#include "sources/playlist.h"

#include <utility>

#include "edgeproof/failure.h"
#include "sources/opening.h"

namespace edgeproof::app {
namespace {

constexpr double usual_fps = 25.0;

/// A failure on one line, without the file's own name at its beginning.
std::string reason_of(const Failure &failure, const std::string &name) {
    const bool named = failure.problem.compare(0, name.size() + 2, name + ": ") == 0;
    const std::string problem = failure.problem.substr(named ? name.size() + 2 : 0);
    return failure.got.empty() ? problem : problem + " (" + failure.got + ")";
}

}  // namespace

Playlist::Playlist(const std::string &name_, std::filesystem::path root, std::vector<std::filesystem::path> files,
                   const std::vector<std::filesystem::path> &others, Open open)
    : root_(std::move(root)), files_(std::move(files)), open_(std::move(open)) {
    name = name_;
    for (const auto &other : others)
        skipped.push_back(relative(other) + ": " + why_left_out(other, "is not an image or video"));
}

std::string Playlist::relative(const std::filesystem::path &file) const {
    return file.lexically_relative(root_).generic_string();
}

bool Playlist::open_next() {
    while (at_ < files_.size()) {
        const std::filesystem::path &file = files_[at_++];
        current_name_ = relative(file);
        try {
            current_ = open_(file);
        } catch (const Failure &failure) {
            skipped.push_back(current_name_ + ": " + reason_of(failure, file.filename().string()));
            continue;
        }
        if (!fps) fps = current_->fps;
        first_ = following_;
        began_ns_ = end_ns_;
        return true;
    }
    return false;
}

void Playlist::end_current() {
    const std::string own = current_->name + ": ";
    for (const std::string &one : current_->skipped)
        skipped.push_back(one.compare(0, own.size(), own) == 0 ? current_name_ + ": " + one.substr(own.size()) : one);
    current_.reset();
}

std::optional<Captured> Playlist::next() {
    while (current_ || open_next()) {
        std::optional<Captured> frame = current_->next();
        if (!frame) {
            end_current();
            continue;
        }
        following_ = first_ + frame->index + 1;
        if (frame->media_ns) {
            frame->media_ns = began_ns_ + *frame->media_ns;
            end_ns_ = *frame->media_ns + static_cast<std::int64_t>(1e9 / current_->fps.value_or(usual_fps));
        }
        frame->name = current_name_ + (current_->of_pictures ? "" : "#" + std::to_string(frame->index));
        frame->index += first_;
        return frame;
    }
    return std::nullopt;
}

}  // namespace edgeproof::app
