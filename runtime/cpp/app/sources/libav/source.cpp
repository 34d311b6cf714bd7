#include "sources/libav/source.h"

extern "C" {
#include <libavutil/mathematics.h>
}

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <map>
#include <opencv2/imgcodecs.hpp>
#include <utility>

#include "edgeproof/damage.h"
#include "edgeproof/spec.h"
#include "media/media.h"
#include "sources/jpeg.h"
#include "sources/libav/compat.h"
#include "sources/libav/container.h"
#include "sources/libav/convert.h"
#include "sources/libav/decoder.h"
#include "sources/libav/deinterlace.h"
#include "sources/libav/log.h"
#include "sources/libav/times.h"
#include "sources/libav/turn.h"

namespace edgeproof::app::libav {
namespace {

constexpr std::size_t packets_kept = 256;

/// What the report says of a frame's damage.
std::string words_of(const std::string &damage) {
    if (damage.empty()) return {};
    return damage == "corrupt" ? "the decoder reported errors, or data is missing" : "predicted from a damaged frame";
}

bool is_stream(const Address &address) {
    return address.kind == Address::Kind::url && address.target.compare(0, 4, "http") != 0;
}

/// What is known of a packet until its frame is given.
struct Packet {
    std::int64_t number = 0;
    bool key = false;
    std::int64_t begin_ns = 0;
    std::int64_t arrived_ns = 0;
    std::int64_t decode_ns = 0;
    std::optional<double> pts_s;
    std::string damage;
};

class LibavSource : public Source {
  public:
    explicit LibavSource(const Address &address)
        : container_(address), video_(container_.video()),
          motion_jpeg_(video_.codecpar->codec_id == AV_CODEC_ID_MJPEG),
          decoder_(video_, container_.decoder(), threads_of(address),
                   address.options.hardware_decode && !motion_jpeg_, address.name), trace_(decoder_.intra_only()),
          turn_(turn_of(display_matrix(video_))) {
        name = address.name;
        if (address.kind == Address::Kind::url) limit_s_ = address.options.limits.read_s;
        live = is_stream(address) ||
               (address.kind == Address::Kind::url && is_endless(container_.context(), video_));
        fps = declared_fps(container_.context(), video_);
        if (!live) frame_count = declared_count(video_);
        const std::string format = container_.context().iformat->name;
        parsed_ = format == "mpegts" || format == "mpeg" || format == "rtsp" || format == "rtp";
        clock_.emplace(container_.context(), video_, live);
        const Hardware *hardware = decoder_.hardware();
        if (address.options.hardware_decode)
            notes.push_back(hardware != nullptr ? "hardware decoding: granted, " + hardware->name() : not_granted);
    }

    std::optional<Captured> next() override {
        while (ready_.empty() && !ended_) advance();
        if (ready_.empty()) return std::nullopt;
        Captured frame = std::move(ready_.front());
        ready_.pop_front();
        return frame;
    }

    void interrupt() override { container_.cancel(); }

  private:
    static int threads_of(const Address &address) {
        const int threads = address.options.decode_threads;
        return threads == 0 && address.kind == Address::Kind::url ? 1 : threads;
    }

    /// Read a packet, and take the frames that come of it.
    void advance() {
        Packet packet;
        packet.begin_ns = now_ns();
        const PacketHandle data = container_.read(live);
        packet.arrived_ns = now_ns();
        if (container_.lost_packets()) trace_.lost();
        if (!data) {
            finish(packet);
            return;
        }
        ++sent_;
        if (is_undecodable(packet.arrived_ns)) {
            finish(packet);
            return;
        }
        packet.pts_s = seconds(data->pts);
        packet.key = (data->flags & AV_PKT_FLAG_KEY) != 0;
        const bool flagged = (data->flags & AV_PKT_FLAG_CORRUPT) != 0;
        // FFmpeg's parser flags the frame before the one whose data is missing.
        const bool corrupt = flagged || corrupt_before_;
        corrupt_before_ = flagged && parsed_;
        bool key = packet.key;
        if (key && refreshed_by_parts_) {
            // A refresh begins here. What was damaged before is whole again when the next one begins.
            key = !damaged_since_key_;
            damaged_since_key_ = false;
        }
        damaged_since_key_ = damaged_since_key_ || corrupt;
        packet.number =
            trace_.sent(data->pts == AV_NOPTS_VALUE ? std::nullopt : std::make_optional(data->pts), key, corrupt);
        if (motion_jpeg_) {
            take_jpeg(*data, packet);
            return;
        }
        if (given_ > 0 && decoder_.one_frame_a_packet() && (data->flags & AV_PKT_FLAG_DISCARD) == 0)
            silent_[packet.number] = packet.pts_s;
        packets_[packet.number] = packet;
        if (packets_.size() > packets_kept) packets_.erase(packets_.begin());
        decode(data.get(), packet);
    }

    /// Whether a network's packets give no frame any more: a camera that was set to another codec goes on sending.
    bool is_undecodable(std::int64_t arrived_ns) {
        if (given_ == 0 || !limit_s_) return false;
        if (!undecoded_since_ns_) undecoded_since_ns_ = arrived_ns;
        if (ms_between(*undecoded_since_ns_, arrived_ns) <= 1e3 * *limit_s_) return false;
        std::array<char, 64> text{};
        std::snprintf(text.data(), text.size(), "no frame could be decoded for %g s", *limit_s_);
        ended_by_ = text.data();
        return true;
    }

    std::optional<double> seconds(std::int64_t stamp) const {
        if (stamp == AV_NOPTS_VALUE) return std::nullopt;
        return static_cast<double>(stamp) * av_q2d(video_.time_base);
    }

    /// Motion JPEG is decoded image by image: FFmpeg would make up what a damaged one lacks.
    void take_jpeg(const AVPacket &data, Packet packet) {
        const std::string bytes(reinterpret_cast<const char *>(data.data), static_cast<std::size_t>(data.size));
        cv::Mat picture;
        if (jpeg_is_complete(bytes)) picture = decoded_jpeg(bytes);
        if (picture.empty()) {
            ++lost_;
            return;
        }
        picture = turned(picture, turn_);
        packet.decode_ns = now_ns() - packet.arrived_ns;
        give(picture, packet);
    }

    static cv::Mat decoded_jpeg(const std::string &bytes) {
        if (const auto picture = decode_jpeg(bytes, false)) return *picture;
        try {
            return media().decode(bytes, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
        } catch (const cv::Exception &) {
            return {};
        }
    }

    /// Send a packet, or null for the end, and take the frames that the decoder gives for it.
    void decode(AVPacket *data, const Packet &newest) {
        const std::int64_t begin = now_ns();
        LogLines log(true);
        bool refused = !decoder_.send(data, newest.number);
        std::vector<Numbered> decoded;
        for (Numbered one = decoder_.receive(refused); one.frame; one = decoder_.receive(refused))
            decoded.push_back(std::move(one));
        const std::int64_t decode_ns = (now_ns() - begin) / std::max<std::int64_t>(1, std::int64_t(decoded.size()));
        // A decoder that works ahead refuses an earlier packet: where each gives a frame, the one without is found.
        if (data != nullptr && !decoder_.works_ahead()) {
            // FFmpeg 5.1 does not flag every frame that it conceals.
            const bool concealed = log.mention("concealing ");
            if (concealed) trace_.concealed(newest.number);
            if (refused) trace_.undecodable(newest.number);
            damaged_since_key_ = damaged_since_key_ || concealed || refused;
        }
        if (refused && given_ > 0 && !decoder_.one_frame_a_packet()) ++lost_;
        for (Numbered &one : decoded) take(std::move(one), decode_ns);
        release(newest);
    }

    void take(Numbered decoded, std::int64_t decode_ns) {
        const auto known = packets_.find(decoded.number);
        Packet packet;
        if (known != packets_.end()) {
            packet = known->second;
            packets_.erase(known);
        } else {
            packet.number = decoded.number;
            packet.begin_ns = packet.arrived_ns = now_ns();
        }
        packet.decode_ns = decode_ns;
        if (const auto pts_s = seconds(decoded.frame->best_effort_timestamp)) packet.pts_s = pts_s;
        interlaced_ = interlaced_ || is_interlaced(*decoded.frame);
        count_silent(packet);
        const bool corrupt = is_corrupt(*decoded.frame);
        trace_.decoded(packet.number, corrupt);
        damaged_since_key_ = damaged_since_key_ || corrupt;
        // Of a key packet where an encoder refreshes the image column by column.
        refreshed_by_parts_ = refreshed_by_parts_ || (packet.key && decoded.frame->pict_type == AV_PICTURE_TYPE_P);
        held_.emplace_back(std::move(packet), std::move(decoded.frame));
    }

    /// Count the packets whose frame should have come before this one, and did not.
    void count_silent(const Packet &packet) {
        silent_.erase(packet.number);
        if (!packet.pts_s) return;
        for (auto at = silent_.begin(); at != silent_.end();) {
            const bool passed = at->first < packet.number && at->second && *at->second < *packet.pts_s;
            if (passed && !interlaced_) {  // there, two packets may hold the fields of one frame
                ++lost_;
                trace_.undecodable(at->first);
            }
            at = passed ? silent_.erase(at) : std::next(at);
        }
    }

    /// Take the frames whose damage is known through the deinterlacer.
    void release(const Packet &newest) {
        while (const auto known = trace_.next()) {
            auto [packet, frame] = std::move(held_.front());
            held_.pop_front();
            packet.damage = known->damage;
            if (packet.damage.empty() == damaged_before_) {
                // Deinterlacing mixes neighbours: a damaged frame must not reach a whole one.
                damaged_before_ = !packet.damage.empty();
                deinterlacer_.finish();
                show(newest);
            }
            filtered_.push_back(std::move(packet));
            deinterlacer_.push(std::move(frame));
            show(newest);
        }
    }

    void show(const Packet &newest) {
        while (const FrameHandle frame = deinterlacer_.pull()) {
            Packet packet = newest;
            if (!filtered_.empty()) {
                packet = std::move(filtered_.front());
                filtered_.pop_front();
            }
            const std::int64_t begin = now_ns();
            const std::int32_t *matrix = display_matrix(*frame);
            const cv::Mat picture = turned(convert_(*frame), matrix != nullptr ? turn_of(matrix) : turn_);
            if (picture.empty()) {
                ++lost_;
                continue;
            }
            packet.decode_ns += now_ns() - begin;
            give(picture, packet);
        }
    }

    void give(const cv::Mat &picture, const Packet &packet) {
        Captured frame;
        frame.image = picture;
        frame.index = given_ + lost_;
        ++given_;
        undecoded_since_ns_.reset();
        frame.name = name + "#" + std::to_string(frame.index);
        frame.captured_ns = packet.arrived_ns;
        frame.capture_ms = ms_between(packet.begin_ns, packet.arrived_ns);
        frame.decode_ms = static_cast<double>(packet.decode_ns) / 1e6;
        frame.media_ns = clock_->media_ns(packet.pts_s, packet.arrived_ns);
        frame.damage = words_of(packet.damage);
        ready_.push_back(std::move(frame));
    }

    void finish(const Packet &newest) {
        trace_.finish();
        if (!motion_jpeg_ && sent_ > 0) decode(nullptr, newest);
        deinterlacer_.finish();
        show(newest);
        if (!interlaced_) lost_ += static_cast<std::int64_t>(silent_.size());
        ended_ = true;
        if (const Hardware *hardware = decoder_.hardware(); hardware != nullptr && hardware->refused())
            notes.push_back("hardware decoding: " + hardware->name() + " does not decode this video; the CPU decodes");
        if (!fps) fps = clock_->measured_fps();
        for (const std::string &loss : losses()) skipped.push_back(name + ": " + loss);
    }

    /// What was lost, in sentences for people.
    std::vector<std::string> losses() const {
        std::vector<std::string> found;
        const std::int64_t read = given_ + lost_;
        if (lost_ > 0)
            found.push_back(std::to_string(lost_) + " of " + std::to_string(std::max(read, frame_count.value_or(0))) +
                            " frames could not be decoded");
        else if (sent_ > 0 && given_ == 0)
            found.push_back("no frame could be decoded (" + decoder_.codec() +
                            (decoder_.codec() == "webp" ? "; FFmpeg reads no animated WebP: save it as a file)" : ")"));
        if (live) {
            const std::string &why = ended_by_.empty() ? container_.ended_by() : ended_by_;
            found.push_back("stopped giving frames after " + std::to_string(read) + (why.empty() ? "" : ": " + why));
        } else if (frame_count && is_cut(*frame_count)) {
            found.push_back("gave " + std::to_string(read) + " of " + std::to_string(*frame_count) +
                            " frames; it is cut off or damaged");
        } else if (!frame_count && container_.cut()) {
            found.push_back("gave " + std::to_string(read) + " frames; it is cut off or damaged");
        }
        return found;
    }

    bool is_cut(std::int64_t declared) const {
        const std::int64_t missing = declared - sent_;
        const std::int64_t share = static_cast<std::int64_t>(static_cast<double>(declared) * spec::missing_share_tolerated);
        if (missing <= 0) return false;
        return container_.cut() || (missing > std::max(spec::missing_frames_tolerated, share) && clock_->ends_early());
    }

    Container container_;
    const AVStream &video_;
    bool motion_jpeg_;
    Decoder decoder_;
    DamageTrace trace_;
    Turn turn_;  ///< of the container; frames may have their own
    std::optional<MediaClock> clock_;
    std::optional<double> limit_s_;  ///< without a frame from a network
    std::optional<std::int64_t> undecoded_since_ns_;
    std::string ended_by_;
    Deinterlacer deinterlacer_;
    Converter convert_;
    std::map<std::int64_t, Packet> packets_;                      ///< in the decoder, by number
    std::map<std::int64_t, std::optional<double>> silent_;        ///< that gave no frame yet: when it is shown
    std::deque<std::pair<Packet, FrameHandle>> held_;             ///< until their damage is known
    std::deque<Packet> filtered_;                                 ///< whose frames the deinterlacer has
    std::deque<Captured> ready_;
    std::int64_t sent_ = 0;
    std::int64_t given_ = 0;
    std::int64_t lost_ = 0;
    bool interlaced_ = false;
    bool damaged_before_ = false;
    bool parsed_ = false;              ///< the demuxer's parser cuts the packets
    bool corrupt_before_ = false;      ///< the packet before was flagged
    bool refreshed_by_parts_ = false;  ///< key packets begin a refresh, not an image
    bool damaged_since_key_ = false;
    bool ended_ = false;
};

/// Have glibc keep the memory of freed frames, as Python's `system/heap.py` does. Otherwise the pages of every frame are
/// given back and cleared anew.
void keep_freed_memory() {
#ifdef __GLIBC__
    constexpr int largest_block = 31 << 20;  // glibc takes at most 32 MiB
    ::mallopt(M_MMAP_THRESHOLD, largest_block);
    ::mallopt(M_TRIM_THRESHOLD, 2 * largest_block);
#endif
}

}  // namespace

std::unique_ptr<Source> open_source(const Address &address) {
    keep_freed_memory();
    return std::make_unique<LibavSource>(address);
}

}  // namespace edgeproof::app::libav
