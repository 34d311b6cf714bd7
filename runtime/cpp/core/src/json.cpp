#include "edgeproof/json.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "edgeproof/error.h"

namespace edgeproof::json {
namespace {

constexpr int max_depth = 64;  // a bundle needs five; without a bound a hostile file exhausts the stack

const char *type_name(const Value &value) {
    constexpr const char *names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[value.data.index()];
}

[[noreturn]] void wrong_type(const Value &value, const char *expected) {
    throw Error(Error::Kind::json, "JSON: a value has the wrong type", type_name(value), expected);
}

class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    Value document() {
        Value value = parse_value(0);
        skip_space();
        if (position_ != text_.size()) fail("the end of the document");
        return value;
    }

  private:
    [[noreturn]] void fail(const char *expected) const {
        const std::string found = position_ < text_.size() ? "'" + std::string(1, text_[position_]) + "'" : "the end";
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
        if (depth > max_depth) fail("at most 64 levels");
        skip_space();
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
        skip_space();
        if (take('}')) return members;
        do {
            skip_space();
            if (!take('"')) fail("a name in quotes");
            std::string key = parse_string();
            for (const auto &member : members)
                if (member.first == key) fail("names that differ");
            skip_space();
            if (!take(':')) fail("':'");
            members.emplace_back(std::move(key), parse_value(depth + 1));
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
            items.push_back(parse_value(depth + 1));
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
            if (take('\\'))
                append_escape(out);
            else
                out += text_[position_++];
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
        const char *end = text_.data() + position_;
        if (std::from_chars(text_.data() + start, end, number.value).ec != std::errc()) fail("a number a double holds");
        return number;
    }

    std::string_view text_;
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

Value parse(std::string_view text) { return Parser(text).document(); }

}  // namespace edgeproof::json
