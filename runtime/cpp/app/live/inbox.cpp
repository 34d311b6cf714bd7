#include "live/inbox.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "live/stop.h"

namespace edgeproof::app {
namespace {

constexpr auto stop_check_interval = std::chrono::milliseconds(100);
constexpr std::size_t unhealthy_most = 1000;
constexpr auto patience = std::chrono::seconds(2);

}  // namespace

/// What the source's thread works on, which outlives the inbox where the thread never comes back.
struct Inbox::Shared {
    std::shared_ptr<Source> source;
    std::optional<std::int64_t> max_frames;
    std::atomic<bool> stop{false};
    std::mutex mutex;
    std::condition_variable changed;
    std::int64_t frames_in = 0;
    std::optional<Captured> newest;
    std::vector<std::int64_t> overtaken;
    std::vector<std::int64_t> unhealthy;
    std::map<std::string, std::int64_t> paced_out;
    std::atomic<std::int64_t> left_out{0};
    StreamHealth health;
    Pace pace;
    std::exception_ptr error;
    bool ended = false;

    Shared(StreamHealth judge, Pace chooser) : health(std::move(judge)), pace(std::move(chooser)) {}

    /// What becomes of a frame. Takes milliseconds of a large frame: outside the lock.
    struct Judged {
        bool unhealthy;
        const char *paced_out;  ///< why it is not classified, or null
    };
    Judged judge(Captured &frame) {
        frame.health = health.look(frame);
        if (health.leaves_out(frame.health)) return {true, nullptr};
        return {false, source->of_pictures ? nullptr : pace.leaves_out(frame, source->fps, source->live)};
    }

    /// Count a frame; whether it is left out.
    bool leaves_out(const Captured &frame, const Judged &judged) {
        health.count(frame.health);
        if (judged.paced_out != nullptr) {
            ++paced_out[judged.paced_out];
            ++left_out;
            return true;
        }
        ++frames_in;
        if (judged.unhealthy) {
            unhealthy.push_back(frame.captured_ns);
            ++left_out;
        }
        return judged.unhealthy;
    }

    bool stopped() const { return stop || stop_requested() || (max_frames && frames_in >= *max_frames); }

    void capture_all() {
        try {
            while (!stopped()) {
                std::optional<Captured> frame = source->next();
                if (!frame) break;
                const Judged judged = judge(*frame);
                const std::lock_guard<std::mutex> lock(mutex);
                if (stop) break;  // nobody counts any more
                if (leaves_out(*frame, judged)) continue;
                if (newest) overtaken.push_back(newest->captured_ns);
                newest = std::move(frame);
                changed.notify_one();
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            error = std::current_exception();
        }
        const std::lock_guard<std::mutex> lock(mutex);
        ended = true;
        changed.notify_one();
    }
};

Inbox::Inbox(std::shared_ptr<Source> source, std::optional<std::int64_t> max_frames, StreamHealth health, Pace pace)
    : shared_(std::make_shared<Shared>(std::move(health), std::move(pace))) {
    shared_->source = std::move(source);
    shared_->max_frames = max_frames;
    // A camera's driver would otherwise hand out frames that waited in its queue while the model worked.
    if (shared_->source->live) thread_ = std::thread([shared = shared_] { shared->capture_all(); });
}

Inbox::~Inbox() { end(); }

std::optional<Captured> Inbox::next() {
    std::optional<Captured> frame;
    if (!thread_.joinable()) {
        while (!shared_->stopped()) {
            frame = shared_->source->next();
            if (!frame) return frame;
            if (!shared_->leaves_out(*frame, shared_->judge(*frame))) return frame;
            if (shared_->unhealthy.size() >= unhealthy_most) return Captured{};
        }
        return std::nullopt;
    }
    std::unique_lock<std::mutex> lock(shared_->mutex);
    while (!shared_->newest && !shared_->ended && !stop_requested() && shared_->unhealthy.size() < unhealthy_most)
        shared_->changed.wait_for(lock, stop_check_interval);
    if (!shared_->newest && shared_->unhealthy.size() >= unhealthy_most && !shared_->ended) return Captured{};
    if (shared_->error) std::rethrow_exception(shared_->error);
    frame.swap(shared_->newest);
    return frame;
}

std::vector<std::int64_t> Inbox::overtaken() {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    return std::exchange(shared_->overtaken, {});
}

std::vector<std::int64_t> Inbox::unhealthy() {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    return std::exchange(shared_->unhealthy, {});
}

HealthRecord Inbox::health() const {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    return shared_->health.record();
}

std::map<std::string, std::int64_t> Inbox::paced_out() const {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    return shared_->paced_out;
}

std::int64_t Inbox::left_out() const { return shared_->left_out; }

bool Inbox::end() {
    if (!thread_.joinable()) return true;
    shared_->stop = true;
    shared_->source->interrupt();
    std::unique_lock<std::mutex> lock(shared_->mutex);
    const bool ended = shared_->changed.wait_for(lock, patience, [this] { return shared_->ended; });
    lock.unlock();
    if (ended) {
        thread_.join();
    } else {
        thread_.detach();
    }
    return ended;
}

std::int64_t Inbox::frames_in() const {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    return shared_->frames_in;
}

std::optional<std::int64_t> Inbox::left_ns() const {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    if (!shared_->newest) return std::nullopt;
    return shared_->newest->captured_ns;
}

}  // namespace edgeproof::app
