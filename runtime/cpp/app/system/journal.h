#pragma once

#include <string>

namespace edgeproof::app {

/// Priorities of messages, as syslog numbers them.
enum class Priority { error = 3, warning = 4, info = 6 };

/// Whether a standard stream is connected to systemd's journal (systemd.exec(5), `JOURNAL_STREAM`).
bool is_journal(int descriptor);

/// Text for the journal: each line begins with its priority (sd-daemon(3)). `tests/golden/journal.json` holds it.
class JournalLines {
   public:
    std::string of(const std::string &text, Priority priority);

   private:
    bool within_line_ = false;
};

}  // namespace edgeproof::app
