#include "json_text.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "edgeproof/utf8.h"
#include "printable.h"

namespace edgeproof {
namespace {

class Writer {
  public:
    explicit Writer(bool indented) : indented_(indented) {}

    void write(const json::Value &value) {
        if (const auto *flag = std::get_if<bool>(&value.data)) {
            text += *flag ? "true" : "false";
        } else if (const auto *number = std::get_if<json::Number>(&value.data)) {
            write(*number);
        } else if (const auto *string = std::get_if<std::string>(&value.data)) {
            write(*string);
        } else if (const auto *array = std::get_if<json::Array>(&value.data)) {
            list('[', ']', *array, [this](const json::Value &item) { write(item); });
        } else if (const auto *object = std::get_if<json::Object>(&value.data)) {
            list('{', '}', *object, [this](const auto &member) {
                write(member.first);
                text += ": ";
                write(member.second);
            });
        } else {
            text += "null";
        }
    }

    std::string text;

  private:
    template <class Items, class WriteItem>
    void list(char open, char close, const Items &items, WriteItem write_item) {
        text += open;
        ++depth_;
        bool first = true;
        for (const auto &item : items) {
            if (!first) text += indented_ ? "," : ", ";
            first = false;
            new_line();
            write_item(item);
        }
        --depth_;
        if (!first) new_line();
        text += close;
    }

    void new_line() {
        if (indented_) text += "\n" + std::string(2 * static_cast<std::size_t>(depth_), ' ');
    }

    void write(const json::Number &number) {
        char digits[40];
        const auto end = number.integer ? std::to_chars(digits, digits + sizeof digits, std::llround(number.value)).ptr
                                        : std::to_chars(digits, digits + sizeof digits, number.value).ptr;
        const std::string written(digits, end);
        text += written;
        // A reader must see that this was measured: 3.0, not 3.
        if (!number.integer && written.find_first_of(".e") == std::string::npos) text += ".0";
    }

    void write(const std::string &string) {
        text += '"';
        for (std::size_t at = 0; at < string.size();) {
            const auto byte = static_cast<unsigned char>(string[at]);
            const std::size_t length = utf8_length(string, at);
            char escape[16];
            if (length == 0) {
                std::snprintf(escape, sizeof escape, "\\\\x%02x", byte);
                text += escape;
                ++at;
                continue;
            }
            if (byte == '"' || byte == '\\') {
                text += '\\';
                text += string[at];
            } else if (const char32_t found = code_point({string.data() + at, length}); found < 0x20 || is_mark(found)) {
                std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(found));
                text += escape;
            } else {
                text.append(string, at, length);
            }
            at += length;
        }
        text += '"';
    }

    bool indented_;
    int depth_ = 0;
};

}  // namespace

json::Value integer(double value) { return {json::Number{value, true}}; }

std::optional<std::int64_t> natural(const json::Value &value) {
    constexpr double largest_exact = 9007199254740992.0;  // 2^53
    const double number = value.number();
    if (!(number >= 0 && number <= largest_exact && std::floor(number) == number)) return std::nullopt;
    return static_cast<std::int64_t>(number);
}

json::Value number(double value) {
    if (!std::isfinite(value)) return {};
    return {json::Number{value, false}};
}

std::string to_text(const json::Value &value, bool indented) {
    Writer writer(indented);
    writer.write(value);
    return writer.text;
}

}  // namespace edgeproof
