#include "edgeproof/damage.h"

#include <algorithm>

namespace edgeproof {
namespace {

// More than any codec reorders (H.264 and H.265 allow 16 frames).
constexpr std::size_t packets_kept = 64;
constexpr std::size_t frames_held = 32;
constexpr std::size_t groups_kept = 64;

}  // namespace

std::int64_t DamageTrace::sent(std::optional<std::int64_t> pts, bool key, bool corrupt) {
    const std::int64_t number = packets_++;
    // Before a new group begins: what was lost belonged to the last one.
    if (lost_) damage(number);
    lost_ = false;
    if (key && number > 0) {
        groups_.push_back({number, pts, std::nullopt});
        if (groups_.size() > groups_kept) groups_.pop_front();
    } else if (number == 0) {
        groups_.back().pts = pts;
    }
    in_decoder_[number] = {number, pts, corrupt};
    if (in_decoder_.size() > packets_kept) in_decoder_.erase(in_decoder_.begin());
    if (corrupt) damage(number);
    return number;
}

void DamageTrace::undecodable(std::int64_t number) {
    in_decoder_.erase(number);
    damage(number);
}

void DamageTrace::concealed(std::int64_t number) {
    if (const auto found = in_decoder_.find(number); found != in_decoder_.end()) found->second.corrupt = true;
    damage(number);
}

void DamageTrace::decoded(std::int64_t number, bool corrupt) {
    Waiting frame{number, std::nullopt, corrupt};
    if (const auto found = in_decoder_.find(number); found != in_decoder_.end()) {
        frame = found->second;
        frame.corrupt = frame.corrupt || corrupt;
        in_decoder_.erase(found);
    }
    if (corrupt) damage(number);
    // What should have been shown before this frame comes no more, such as the second field of a frame.
    for (auto at = in_decoder_.begin(); at != in_decoder_.end();) {
        const bool passed = at->first < number && (!at->second.pts || (frame.pts && *at->second.pts <= *frame.pts));
        at = passed ? in_decoder_.erase(at) : std::next(at);
    }
    decoded_.push_back(frame);
}

std::optional<DamageTrace::Frame> DamageTrace::next() {
    if (decoded_.empty() || (waits(decoded_.front()) && decoded_.size() <= frames_held)) return std::nullopt;
    const Waiting frame = decoded_.front();
    decoded_.pop_front();
    return Frame{frame.number, damage_of(frame)};
}

void DamageTrace::damage(std::int64_t number) {
    const auto group =
        std::find_if(groups_.rbegin(), groups_.rend(), [number](const Group &g) { return g.first <= number; });
    if (group != groups_.rend()) group->damaged_from = std::min(group->damaged_from.value_or(number), number);
}

bool DamageTrace::waits(const Waiting &frame) const {
    if (finished_ || intra_only_ || !frame.pts) return false;
    return std::any_of(in_decoder_.begin(), in_decoder_.end(), [&frame](const auto &entry) {
        return frame.number > entry.first && entry.second.pts && *entry.second.pts > *frame.pts;
    });
}

std::string DamageTrace::damage_of(const Waiting &frame) const {
    if (frame.corrupt) return "corrupt";
    if (intra_only_) return {};
    const auto group =
        std::find_if(groups_.rbegin(), groups_.rend(), [&frame](const Group &g) { return g.first <= frame.number; });
    if (group == groups_.rend()) return {};
    if (group->damaged_from && *group->damaged_from <= frame.number) return "reference";
    // Shown before the key frame that it follows: predicted from both groups.
    const auto before = std::next(group);
    const bool leading = frame.pts && group->pts && *frame.pts < *group->pts;
    return leading && before != groups_.rend() && before->damaged_from ? "reference" : "";
}

}  // namespace edgeproof
