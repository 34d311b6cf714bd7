#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace edgeproof::json {

struct Value;
using Array = std::vector<Value>;
using Object = std::vector<std::pair<std::string, Value>>;  // in the file's order; keys are unique

/// A number keeps whether it was written as an integer, because 256 is a size and 256.0 is not.
struct Number {
    double value = 0.0;
    bool integer = false;
};

/// One JSON value (RFC 8259). The checked accessors throw `Error` (kind json), naming the type that was found.
struct Value {
    std::variant<std::nullptr_t, bool, Number, std::string, Array, Object> data = nullptr;

    bool is_null() const { return std::holds_alternative<std::nullptr_t>(data); }
    bool boolean() const;
    double number() const;
    /// An integer in the range of int.
    int integer() const;
    const std::string &string() const;
    const Array &array() const;
    const Object &object() const;
    /// The member of this name; throws where the value is no object or has no such member.
    const Value &at(std::string_view key) const;
    /// The member of this name, or nullptr.
    const Value *find(std::string_view key) const;
};

/// Parse one JSON document of the dialect that this project reads, in C++ and in Python: RFC 8259 in UTF-8 without a
/// byte order mark, no duplicate keys, no lone surrogates, integers of 64 bits, numbers that a double holds, bounds on
/// depth and size (spec.json). Takes time in proportion to the size.
/// Throws `Error` (kind json) with the byte offset of the first mistake.
Value parse(std::string_view text);

/// Check that a document is of this dialect, in little memory, with another bound on its size. Throws as `parse`.
void check(std::string_view text, std::int64_t max_bytes);

}  // namespace edgeproof::json
