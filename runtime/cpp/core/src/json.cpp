#include "edgeproof/json.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <unordered_set>

#include "edgeproof/error.h"
#include "edgeproof/spec.h"
#include "edgeproof/utf8.h"

namespace edgeproof::json {
namespace {

const char *type_name(const Value &value) {
    constexpr const char *names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[value.data.index()];
}

[[noreturn]] void wrong_type(const Value &value, const char *expected) {
    throw Error(Error::Kind::json, "JSON: a value has the wrong type", type_name(value), expected);
}

/// Reads one document; without `keep` it only checks, in little memory.
class Parser {
  public:
    Parser(std::string_view text, bool keep) : text_(text), keep_(keep) {}

    Value document() {
        Value value = parse_value(0);
        skip_space();
        if (position_ != text_.size()) fail("the end of the document");
        return value;
    }

  private:
    [[noreturn]] void fail(const char *expected) const {
        std::string found = "the end";
        if (position_ < text_.size()) {
            char digits[8] = {};
            const auto byte = static_cast<unsigned char>(text_[position_]);
            std::snprintf(digits, sizeof digits, byte > 0x20 && byte < 0x7F ? "'%c'" : "0x%02x", byte);
            found = digits;
        }
        throw Error(Error::Kind::json, "JSON: invalid", found + " at byte " + std::to_string(position_), expected);
    }

    void skip_space() {
        while (position_ < text_.size() && std::string_view(" \t\r\n").find(text_[position_]) != std::string_view::npos)
            ++position_;
    }

    bool take(char wanted) {
        if (position_ >= text_.size() || text_[position_] != wanted) return false;
        ++position_;
        return true;
    }

    bool take_word(std::string_view word) {
        if (text_.substr(position_, word.size()) != word) return false;
        position_ += word.size();
        return true;
    }

    Value parse_value(int depth) {
        skip_space();
        const bool nested = position_ < text_.size() && (text_[position_] == '{' || text_[position_] == '[');
        // Without a bound a hostile file exhausts the stack; a bundle needs five.
        if (nested && depth == spec::max_json_depth)
            fail(("at most " + std::to_string(spec::max_json_depth) + " levels").c_str());
        if (take('{')) return {parse_object(depth)};
        if (take('[')) return {parse_array(depth)};
        if (take('"')) return {parse_string()};
        if (take_word("true")) return {true};
        if (take_word("false")) return {false};
        if (take_word("null")) return {nullptr};
        return {parse_number()};
    }

    Object parse_object(int depth) {
        Object members;
        std::unordered_set<std::string> keys;
        skip_space();
        if (take('}')) return members;
        do {
            skip_space();
            if (!take('"')) fail("a name in quotes");
            std::string key = parse_string();
            if (!keys.insert(key).second) fail("names that differ");
            skip_space();
            if (!take(':')) fail("':'");
            Value value = parse_value(depth + 1);
            if (keep_) members.emplace_back(std::move(key), std::move(value));
            skip_space();
        } while (take(','));
        if (!take('}')) fail("',' or '}'");
        return members;
    }

    Array parse_array(int depth) {
        Array items;
        skip_space();
        if (take(']')) return items;
        do {
            Value value = parse_value(depth + 1);
            if (keep_) items.push_back(std::move(value));
            skip_space();
        } while (take(','));
        if (!take(']')) fail("',' or ']'");
        return items;
    }

    unsigned parse_hex4() {
        unsigned code = 0;
        const std::string_view digits = text_.substr(position_, 4);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        if (error != std::errc() || digits.size() != 4 || end != digits.data() + 4) fail("four hexadecimal digits");
        position_ += 4;
        return code;
    }

    void append_escape(std::string &out) {
        constexpr std::string_view names = "\"\\/bfnrt";
        constexpr std::string_view values = "\"\\/\b\f\n\r\t";
        if (take('u')) {
            unsigned code = parse_hex4();
            if (code >= 0xDC00 && code < 0xE000) fail("a high surrogate before a low one");
            if (code >= 0xD800 && code < 0xDC00) {
                if (!take('\\') || !take('u')) fail("the low half of a surrogate pair");
                const unsigned low = parse_hex4();
                if (low < 0xDC00 || low >= 0xE000) fail("the low half of a surrogate pair");
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            }
            append_utf8(out, code);
            return;
        }
        const std::size_t index = position_ < text_.size() ? names.find(text_[position_]) : std::string_view::npos;
        if (index == std::string_view::npos) fail("an escape that JSON knows");
        out += values[index];
        ++position_;
    }

    static void append_utf8(std::string &out, unsigned code) {
        const auto tail = [code](int shift) { return static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += {static_cast<char>(0xC0 | (code >> 6)), tail(0)};
        } else if (code < 0x10000) {
            out += {static_cast<char>(0xE0 | (code >> 12)), tail(6), tail(0)};
        } else {
            out += {static_cast<char>(0xF0 | (code >> 18)), tail(12), tail(6), tail(0)};
        }
    }

    std::string parse_string() {
        std::string out;
        while (position_ < text_.size()) {
            if (static_cast<unsigned char>(text_[position_]) < 0x20) fail("no control character in a string");
            if (take('"')) return out;
            if (take('\\')) {
                append_escape(out);
                continue;
            }
            const std::size_t length = utf8_length(text_, position_);
            if (length == 0) fail("UTF-8");
            out.append(text_, position_, length);
            position_ += length;
        }
        fail("'\"'");
    }

    void skip_digits() {
        const std::size_t before = position_;
        while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') ++position_;
        if (position_ == before) fail("a value");
    }

    Number parse_number() {
        const std::size_t start = position_;
        Number number{0.0, true};
        take('-');
        if (!take('0')) skip_digits();
        if (take('.')) {
            number.integer = false;
            skip_digits();
        }
        if (take('e') || take('E')) {
            number.integer = false;
            if (!take('+')) take('-');
            skip_digits();
        }
        const char *begin = text_.data() + start, *end = text_.data() + position_;
        if (std::from_chars(begin, end, number.value).ec != std::errc()) fail("a number that a double holds");
        if (number.integer && !fits_64_bits(begin, end)) fail("an integer of 64 bits");
        return number;
    }

    static bool fits_64_bits(const char *begin, const char *end) {
        std::int64_t whole = 0;
        std::uint64_t natural = 0;
        return *begin == '-' ? std::from_chars(begin, end, whole).ec == std::errc()
                             : std::from_chars(begin, end, natural).ec == std::errc();
    }

    std::string_view text_;
    bool keep_;
    std::size_t position_ = 0;
};

}  // namespace

bool Value::boolean() const {
    if (const auto *value = std::get_if<bool>(&data)) return *value;
    wrong_type(*this, "a boolean");
}

double Value::number() const {
    if (const auto *value = std::get_if<Number>(&data)) return value->value;
    wrong_type(*this, "a number");
}

int Value::integer() const {
    const auto *value = std::get_if<Number>(&data);
    if (value == nullptr || !value->integer || std::abs(value->value) > std::numeric_limits<int>::max())
        wrong_type(*this, "an integer");
    return static_cast<int>(value->value);
}

const std::string &Value::string() const {
    if (const auto *value = std::get_if<std::string>(&data)) return *value;
    wrong_type(*this, "a string");
}

const Array &Value::array() const {
    if (const auto *value = std::get_if<Array>(&data)) return *value;
    wrong_type(*this, "an array");
}

const Object &Value::object() const {
    if (const auto *value = std::get_if<Object>(&data)) return *value;
    wrong_type(*this, "an object");
}

const Value *Value::find(std::string_view key) const {
    for (const auto &member : object())
        if (member.first == key) return &member.second;
    return nullptr;
}

const Value &Value::at(std::string_view key) const {
    if (const Value *value = find(key)) return *value;
    throw Error(Error::Kind::json, "JSON: a member is missing", {}, std::string(key));
}

namespace {

Value read(std::string_view text, std::int64_t max_bytes, bool keep) {
    if (text.size() > static_cast<std::size_t>(max_bytes)) {
        throw Error(Error::Kind::json, "JSON: too large", std::to_string(text.size()) + " bytes",
                    "at most " + std::to_string(max_bytes) + " bytes");
    }
    return Parser(text, keep).document();
}

}  // namespace

Value parse(std::string_view text) { return read(text, spec::max_json_bytes, true); }

void check(std::string_view text, std::int64_t max_bytes) { read(text, max_bytes, false); }

}  // namespace edgeproof::json
