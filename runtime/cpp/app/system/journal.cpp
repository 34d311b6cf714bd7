#include "system/journal.h"

#include <sys/stat.h>

#include <cstdlib>

namespace edgeproof::app {

bool is_journal(int descriptor) {
    const char *named = std::getenv("JOURNAL_STREAM");
    struct stat facts {};
    if (named == nullptr || ::fstat(descriptor, &facts) != 0) return false;
    return std::to_string(facts.st_dev) + ":" + std::to_string(facts.st_ino) == named;
}

std::string JournalLines::of(const std::string &text, Priority priority) {
    const std::string prefix = "<" + std::to_string(static_cast<int>(priority)) + ">";
    std::string found;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = text.find('\n', begin);
        const std::size_t next = end == std::string::npos ? text.size() : end + 1;
        found += (within_line_ ? "" : prefix) + text.substr(begin, next - begin);
        within_line_ = end == std::string::npos;
        begin = next;
    }
    return found;
}

}  // namespace edgeproof::app
