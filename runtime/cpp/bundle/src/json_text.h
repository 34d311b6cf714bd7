#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "edgeproof/json.h"

namespace edgeproof {

/// An integer as a JSON value. Exact up to 2^53.
json::Value integer(double value);

/// The whole number from 0 to 2^53 that a JSON number is; nothing for other numbers. Throws `Error` (kind json) for
/// other values.
std::optional<std::int64_t> natural(const json::Value &value);

/// A measured number as a JSON value; null if it is not finite, which JSON cannot represent.
json::Value number(double value);

/// A JSON document: one line, or indented by two spaces a level. Bytes that are not UTF-8 become "\xNN".
std::string to_text(const json::Value &value, bool indented = false);

}  // namespace edgeproof
