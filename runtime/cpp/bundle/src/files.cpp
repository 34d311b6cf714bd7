#include "files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "edgeproof/failure.h"

namespace edgeproof {
namespace {

bool write_all(int descriptor, const std::string &content) {
    std::size_t done = 0;
    while (done < content.size()) {
        const ssize_t wrote = ::write(descriptor, content.data() + done, content.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return false;
        done += static_cast<std::size_t>(wrote);
    }
    return ::fsync(descriptor) == 0;
}

}  // namespace

std::string read_file(const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const auto size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
    std::error_code ignored;
    if (size < 0 || std::filesystem::is_directory(path, ignored))
        throw bad_input(path.string() + ": cannot be read", std::strerror(errno != 0 ? errno : EISDIR));
    std::string content(static_cast<std::size_t>(size), '\0');
    file.seekg(0);
    if (!file.read(content.data(), size)) throw bad_input(path.string() + ": cannot be read", "the file ended early");
    return content;
}

void check_writable(const std::filesystem::path &path, const std::filesystem::path &source) {
    std::error_code ignored;
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    if (std::filesystem::is_directory(path, ignored))
        throw bad_input(path.string() + ": is a folder", {}, "a file name");
    if (::access(folder.c_str(), W_OK | X_OK) != 0 || !std::filesystem::is_directory(folder, ignored))
        throw bad_input(path.string() + ": cannot be written", std::strerror(errno), {},
                        "choose a folder that exists and is writable");
    if (std::filesystem::equivalent(path, source, ignored))
        throw bad_input(path.string() + ": would be overwritten", "it is the source");
}

void write_atomically(const std::filesystem::path &path, const std::string &content) {
    const std::string pattern = path.parent_path() / ("." + path.filename().string() + ".XXXXXX");
    std::vector<char> temporary(pattern.c_str(), pattern.c_str() + pattern.size() + 1);
    const int descriptor = ::mkstemp(temporary.data());
    // mkstemp makes it private, but others read reports
    const bool written = descriptor >= 0 && write_all(descriptor, content) && ::fchmod(descriptor, 0644) == 0;
    const bool placed = written && ::rename(temporary.data(), path.c_str()) == 0;
    const int error = errno;
    if (descriptor >= 0) ::close(descriptor);
    if (placed) return;
    if (descriptor >= 0) ::unlink(temporary.data());
    throw bad_input(path.string() + ": cannot be written", std::strerror(error), {},
                    "choose a folder that exists and is writable");
}

}  // namespace edgeproof
