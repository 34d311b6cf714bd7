#include "sources/adapted.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "edgeproof/failure.h"
#include "live/stop.h"

namespace edgeproof::app {
namespace {

constexpr auto stop_check_interval = std::chrono::milliseconds(50);
constexpr double usual_fps = 25.0;
constexpr std::size_t largest_pixel = 32;  // bytes that OpenCV transposes

/// `cv::rotate` for pixels of any size.
cv::Mat rotated_any(const cv::Mat &image, int degrees) {
    const bool across = degrees != 180;
    cv::Mat result(across ? image.cols : image.rows, across ? image.rows : image.cols, image.type());
    for (int y = 0; y < result.rows; ++y) {
        for (int x = 0; x < result.cols; ++x) {
            const int row = degrees == 90 ? image.rows - 1 - x : degrees == 180 ? image.rows - 1 - y : x;
            const int column = degrees == 90 ? y : degrees == 180 ? image.cols - 1 - x : image.cols - 1 - y;
            std::memcpy(result.ptr(y, x), image.ptr(row, column), image.elemSize());
        }
    }
    return result;
}

cv::Mat rotated(const cv::Mat &image, int degrees) {
    if (image.elemSize() > largest_pixel) return rotated_any(image, degrees);
    cv::Mat result;
    cv::rotate(image, result, degrees == 90    ? cv::ROTATE_90_CLOCKWISE
                              : degrees == 180 ? cv::ROTATE_180
                                               : cv::ROTATE_90_COUNTERCLOCKWISE);
    return result;
}

/// Another source's frames; rotation and cropping count as decoding.
class Adapted : public Source {
  public:
    Adapted(std::unique_ptr<Source> source, const SourceOptions &options,
            std::function<std::unique_ptr<Source>()> reopen)
        : source_(std::move(source)), reopen_(std::move(reopen)), options_(options) {
        name = source_->name;
        live = source_->live;
        of_pictures = source_->of_pictures;
        if (options.rate_limit_fps) limit_.emplace(*options.rate_limit_fps);
        follow();
    }

    std::optional<Captured> next() override {
        while (true) {
            const bool paced = limit_ && !live;
            // Before the frame is read, so that the wait does not add to its age.
            if (paced && !wait_until_due()) return std::nullopt;
            std::optional<Captured> frame = source_->next();
            follow();
            if (!frame) {
                if (!begin_again()) return std::nullopt;
                continue;
            }
            number(*frame);
            if (paced) due_ns_ = std::max(due_ns_ + limit_->interval_ns(), now_ns());
            if (limit_ && live && limit_->leaves_out(frame->captured_ns)) {
                ++left_out["rate limit"];
                continue;
            }
            shape(*frame);
            return frame;
        }
    }

    void interrupt() override {
        interrupted_ = true;
        source_->interrupt();
    }

  private:
    /// Whether another pass over the source begins. A pass without a frame is the last: it would never end.
    bool begin_again() {
        if (!options_.loop || !reopen_ || following_ == first_) return false;
        source_ = reopen_();
        skipped.clear();
        notes.clear();
        follow();
        ++passes_;
        first_ = following_;
        began_ns_ = end_ns_;
        return true;
    }

    /// Positions and media times run on from pass to pass.
    void number(Captured &frame) {
        if (!options_.loop) return;
        if (passes_ > 0) frame.name += " (pass " + std::to_string(passes_ + 1) + ")";
        frame.index += first_;
        following_ = frame.index + 1;
        if (!frame.media_ns) return;
        frame.media_ns = began_ns_ + *frame.media_ns;
        end_ns_ = *frame.media_ns + static_cast<std::int64_t>(1e9 / fps.value_or(usual_fps));
    }

    /// Take over what the source says of itself, which may change while it is read.
    void follow() {
        fps = source_->fps;
        if (!options_.loop) frame_count = source_->frame_count;
        if (skipped.size() != source_->skipped.size()) skipped = source_->skipped;
        if (notes.size() != source_->notes.size()) notes = source_->notes;
    }

    /// Whether to read on.
    bool wait_until_due() {
        if (due_ns_ == 0) due_ns_ = now_ns();
        while (true) {
            if (interrupted_ || stop_requested()) return false;
            const auto left = std::chrono::nanoseconds(due_ns_ - now_ns());
            if (left.count() <= 0) return true;
            std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(left, stop_check_interval));
        }
    }

    void shape(Captured &frame) const {
        if (options_.rotate == 0 && !options_.crop) return;
        const std::int64_t begin = now_ns();
        if (options_.rotate != 0) frame.image = rotated(frame.image, options_.rotate);
        if (options_.crop) {
            const Crop &crop = *options_.crop;
            // The sums may be too large for an int.
            if (std::int64_t{crop.y} + crop.height > frame.image.rows ||
                std::int64_t{crop.x} + crop.width > frame.image.cols)
                throw bad_input(name + ": the crop exceeds the frame",
                                std::to_string(crop.x) + "," + std::to_string(crop.y) + "," +
                                    std::to_string(crop.width) + "," + std::to_string(crop.height) + " of " +
                                    std::to_string(frame.image.cols) + "x" + std::to_string(frame.image.rows),
                                "x + width and y + height within the frame, after rotation");
            frame.image = frame.image(cv::Rect(crop.x, crop.y, crop.width, crop.height));
        }
        frame.decode_ms += ms_between(begin, now_ns());
    }

    std::unique_ptr<Source> source_;
    std::function<std::unique_ptr<Source>()> reopen_;
    SourceOptions options_;
    std::optional<RateLimit> limit_;
    std::atomic<bool> interrupted_{false};
    std::int64_t due_ns_ = 0;     ///< when the next frame of a file is read
    std::int64_t passes_ = 0;     ///< that have ended
    std::int64_t first_ = 0;      ///< position of the pass's first frame
    std::int64_t following_ = 0;  ///< position after its last frame
    std::int64_t began_ns_ = 0;   ///< media time of the pass's first frame
    std::int64_t end_ns_ = 0;     ///< media time after its last frame
};

}  // namespace

RateLimit::RateLimit(double fps) : interval_ns_(std::llrint(1e9 / fps)) {}

bool RateLimit::leaves_out(std::int64_t captured_ns) {
    if (captured_ns < due_ns_) return true;
    // Keep the time grid so that jitter does not lower the rate; restart it after a pause.
    const std::int64_t late_ns = captured_ns - due_ns_;
    due_ns_ = (late_ns < interval_ns_ ? due_ns_ : captured_ns) + interval_ns_;
    return false;
}

std::unique_ptr<Source> adapted(std::unique_ptr<Source> source, const SourceOptions &options,
                                std::function<std::unique_ptr<Source>()> reopen) {
    if (options.loop && source->live)
        throw bad_input(source->name + " (live): does not support --loop", {}, {}, "leave --loop out");
    if (options.rotate == 0 && !options.crop && !options.rate_limit_fps && !options.loop) return source;
    return std::make_unique<Adapted>(std::move(source), options, std::move(reopen));
}

}  // namespace edgeproof::app
