#pragma once

#include <string>
#include <string_view>

namespace edgeproof {

/// Whether a character acts on what shows it, beside C0: DEL, C1, and marks that reorder or break lines. The list is
/// that of `edgeproof_runtime.system.text`.
bool is_mark(char32_t character);

/// The character of a valid UTF-8 sequence.
char32_t code_point(std::string_view sequence);

/// Escape control characters and what is not UTF-8 for a terminal: ESC becomes `\x1b`. Tabs and newlines stay.
std::string printable(std::string_view text);

}  // namespace edgeproof
