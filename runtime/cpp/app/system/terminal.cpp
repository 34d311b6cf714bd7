#include "system/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>

#include "edgeproof/failure.h"
#include "printable.h"

namespace edgeproof::app {
namespace {

bool diverted = false;
int lost = 0;  // the first error of standard output

void print(std::FILE *stream, const char *format, std::va_list arguments) {
    std::va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, arguments);
    std::string text(static_cast<std::size_t>(length < 0 ? 0 : length), '\0');
    std::vsnprintf(text.data(), text.size() + 1, format, again);
    va_end(again);
    if (std::fputs(printable(text).c_str(), stream) == EOF && stream == stdout && lost == 0) lost = errno;
}

}  // namespace

void say(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(diverted ? stderr : stdout, format, arguments);
    va_end(arguments);
}

void note(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(stderr, format, arguments);
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
