#include "sources/libav/log.h"

extern "C" {
#include <libavutil/log.h>
}

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

namespace edgeproof::app::libav {
namespace {

constexpr std::size_t lines_kept = 50;
thread_local LogLines *collector = nullptr;

void collect(void *object, int level, const char *format, va_list arguments) {
    if (collector == nullptr || level > (collector->takes_information() ? AV_LOG_INFO : AV_LOG_WARNING)) return;
    std::array<char, 512> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    std::string line(text.data());
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
    const AVClass *kind = object != nullptr ? *static_cast<AVClass **>(object) : nullptr;
    if (kind != nullptr) line = "[" + std::string(kind->item_name(object)) + "] " + line;
    if (collector->lines.size() == lines_kept) collector->lines.erase(collector->lines.begin());
    collector->lines.push_back(line);
}

}  // namespace

LogLines::LogLines(bool information) : information_(information), outer_(collector) { collector = this; }

bool LogLines::mention(const char *text) const {
    return std::any_of(lines.begin(), lines.end(),
                       [text](const std::string &line) { return line.find(text) != std::string::npos; });
}

LogLines::~LogLines() { collector = outer_; }

void take_log() { av_log_set_callback(collect); }

}  // namespace edgeproof::app::libav
