#include "system/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>

#include "edgeproof/failure.h"
#include "printable.h"
#include "system/journal.h"

namespace edgeproof::app {
namespace {

bool diverted = false;
int lost = 0;  // the first error of standard output

void print(std::FILE *stream, Priority priority, const char *format, std::va_list arguments) {
    static std::mutex mutex;
    static JournalLines journal;
    std::va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, arguments);
    std::string text(static_cast<std::size_t>(length < 0 ? 0 : length), '\0');
    std::vsnprintf(text.data(), text.size() + 1, format, again);
    va_end(again);
    text = printable(text);
    const std::lock_guard<std::mutex> lock(mutex);
    if (stream == stderr && is_journal(STDERR_FILENO)) text = journal.of(text, priority);
    if (std::fputs(text.c_str(), stream) == EOF && stream == stdout && lost == 0) lost = errno;
}

}  // namespace

void say(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(diverted ? stderr : stdout, Priority::info, format, arguments);
    va_end(arguments);
}

void note(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(stderr, Priority::info, format, arguments);
    va_end(arguments);
}

void warn(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(stderr, Priority::warning, format, arguments);
    va_end(arguments);
}

void fail(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(stderr, Priority::error, format, arguments);
    va_end(arguments);
}

void results_on_stderr() { diverted = true; }

void open_closed_streams() {
    for (int number = 0; number < 3; ++number) {
        if (::fcntl(number, F_GETFD) >= 0) continue;
        const int opened = ::open("/dev/null", O_RDWR);
        if (opened >= 0 && opened != number) {
            ::dup2(opened, number);
            ::close(opened);
        }
    }
}

void check_standard_output() {
    if (std::fflush(stdout) == EOF && lost == 0) lost = errno;
    if (lost != 0) throw bad_input("standard output: cannot be written", std::strerror(lost));
}

}  // namespace edgeproof::app
