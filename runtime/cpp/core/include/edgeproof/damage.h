#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

namespace edgeproof {

/// Tells which frames of a video are whole, from what demuxer and decoder report. A decoder flags the frame that it
/// concealed, but not those that it predicts from it: they are damaged up to the next key frame.
///
/// Packets have numbers in the order of decoding; frames come in the order of showing. A frame that is shown before a
/// packet that was decoded earlier waits for it, because it may be predicted from it. Without B-frames none waits.
class DamageTrace {
  public:
    struct Frame {
        std::int64_t number = 0;  ///< of its packet
        std::string damage;       ///< "corrupt" (reported) or "reference" (predicted from a damaged one); empty: whole
    };

    /// `intra_only`: the codec predicts no frame from another.
    explicit DamageTrace(bool intra_only) : intra_only_(intra_only) {}

    /// A packet goes to the decoder. `pts`: when its frame is shown, if known. Returns its number, from 0.
    std::int64_t sent(std::optional<std::int64_t> pts, bool key, bool corrupt);
    /// Packets are missing before the next one.
    void lost() { lost_ = true; }
    /// The decoder refused a packet.
    void undecodable(std::int64_t number);
    /// The decoder concealed a part of a packet's frame, which it may not flag.
    void concealed(std::int64_t number);
    /// The decoder gave the frame of a packet, `corrupt` where it flagged it.
    void decoded(std::int64_t number, bool corrupt);
    /// The last frame was decoded.
    void finish() { finished_ = true; }

    /// The next frame in the order of showing; nothing while it waits for another one.
    std::optional<Frame> next();

  private:
    /// A key packet and those that follow it in the order of decoding.
    struct Group {
        std::int64_t first = 0;
        std::optional<std::int64_t> pts;
        std::optional<std::int64_t> damaged_from;
    };
    struct Waiting {
        std::int64_t number = 0;
        std::optional<std::int64_t> pts;
        bool corrupt = false;
    };

    void damage(std::int64_t number);
    bool waits(const Waiting &frame) const;
    std::string damage_of(const Waiting &frame) const;

    bool intra_only_;
    bool lost_ = false;
    bool finished_ = false;
    std::int64_t packets_ = 0;
    std::deque<Group> groups_{Group{}};
    std::map<std::int64_t, Waiting> in_decoder_;
    std::deque<Waiting> decoded_;
};

}  // namespace edgeproof
