#include <sstream>

#include "check.h"
#include "core/npy.h"
#include "edgeproof/damage.h"
#include "edgeproof/json.h"

using namespace edgeproof;

namespace {

std::optional<std::int64_t> time_of(const std::string &text) {
    return text == "-" ? std::nullopt : std::optional<std::int64_t>(std::stoll(text));
}

/// Play "K0" (a key packet shown at 0), "P3" and "B1" (others), "d1" (the frame of packet 1), "x1" (refused), "c1" (concealed), "~" (lost
/// packets) and "." (the end); "!" flags damage. Returns the frames as they come.
std::string play(const std::string &events, bool intra_only) {
    DamageTrace trace(intra_only);
    std::string frames;
    std::istringstream words(events);
    for (std::string word; words >> word;) {
        const bool flagged = word.back() == '!';
        const std::string rest = word.substr(1, word.size() - 1 - (flagged ? 1 : 0));
        switch (word[0]) {
            case 'K':
            case 'P':
            case 'B': trace.sent(time_of(rest), word[0] == 'K', flagged); break;
            case 'd': trace.decoded(std::stoll(rest), flagged); break;
            case 'c': trace.concealed(std::stoll(rest)); break;
            case 'x': trace.undecodable(std::stoll(rest)); break;
            case '~': trace.lost(); break;
            default: trace.finish();
        }
        while (const auto frame = trace.next())
            frames += (frames.empty() ? "" : " ") + std::to_string(frame->number) + frame->damage.substr(0, 1);
    }
    return frames;
}

}  // namespace

TEST(damage_spreads_as_the_golden_cases_say) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/damage.json"));
    CHECK(cases.array().size() > 10);
    for (const auto &golden : cases.array()) {
        const std::string found = play(golden.at("events").string(), golden.at("intra_only").boolean());
        CHECK_WITH(found == golden.at("frames").string(), golden.at("what").string() + ": " + found);
    }
}

TEST(a_long_stream_keeps_little) {
    DamageTrace trace(false);
    std::int64_t frames = 0;
    for (std::int64_t i = 0; i < 10'000; ++i) {
        trace.sent(2 * i, i % 50 == 0, false);
        if (i % 3 != 0) trace.decoded(i, false);  // the decoder never gives the others
        while (trace.next()) ++frames;
    }
    CHECK(frames > 6'600);
}
