#include "check.h"
#include "core/npy.h"
#include "edgeproof/json.h"
#include "system/journal.h"

using namespace edgeproof;
using edgeproof::app::JournalLines;
using edgeproof::app::Priority;

namespace {

Priority priority_of(const std::string &name) {
    if (name == "error") return Priority::error;
    return name == "warning" ? Priority::warning : Priority::info;
}

}  // namespace

TEST(lines_for_the_journal_are_what_the_golden_says) {
    const auto golden = json::parse(read_text(GOLDEN_DIR "/journal.json"));
    const auto &cases = golden.at("cases").array();
    CHECK(cases.size() >= 5);
    for (const auto &one : cases) {
        JournalLines lines;
        std::string found;
        for (const auto &part : one.at("printed").array())
            found += lines.of(part.at("text").string(), priority_of(part.at("as").string()));
        CHECK_WITH(found == one.at("written").string(), one.at("written").string());
    }
}
