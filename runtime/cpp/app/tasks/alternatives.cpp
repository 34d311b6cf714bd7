#include "tasks/alternatives.h"

namespace edgeproof::app {
namespace {

std::string trimmed(const std::string &text) {
    const std::size_t first = text.find_first_not_of(" \t");
    return first == std::string::npos ? std::string() : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

std::vector<std::string> alternatives(const std::string &label) {
    std::vector<std::string> parts;
    std::size_t begin = 0;
    for (std::size_t bar = label.find('|'); bar != std::string::npos; bar = label.find('|', begin)) {
        parts.push_back(trimmed(label.substr(begin, bar - begin)));
        begin = bar + 1;
    }
    parts.push_back(trimmed(label.substr(begin)));
    return parts;
}

}  // namespace edgeproof::app
