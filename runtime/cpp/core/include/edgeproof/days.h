#pragma once

#include <cstdint>

namespace edgeproof {

/// Whether a file that was begun on `day` is to be set aside `today` (days since 1970, UTC). A clock that is set back
/// over midnight begins no new day; one that was wrong by more than a day does.
constexpr bool is_new_day(std::int64_t day, std::int64_t today) { return today > day || today < day - 1; }

}  // namespace edgeproof
