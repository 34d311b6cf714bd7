#include "files.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "edgeproof/failure.h"

namespace edgeproof {
namespace {

constexpr int most_links = 40;  // as in Linux
constexpr int fifo_polls = 200;
constexpr auto fifo_poll = std::chrono::milliseconds(50);

/// The number after one of the folders that hold descriptors.
std::optional<int> number_in(const std::string &text) {
    const std::string own = "/proc/" + std::to_string(::getpid()) + "/fd/";
    for (const std::string &folder : {std::string("/dev/fd/"), std::string("/proc/self/fd/"),
                                      std::string("/proc/thread-self/fd/"), own}) {
        if (text.compare(0, folder.size(), folder) != 0) continue;
        const std::string rest = text.substr(folder.size());
        bool digits = !rest.empty() && rest.size() < 8;
        for (const char c : rest) digits = digits && std::isdigit(static_cast<unsigned char>(c)) != 0;
        if (digits) return std::stoi(rest);
    }
    return std::nullopt;
}

/// The descriptor of this process that a path names: 1 for `-`, `/dev/stdout` and links to it.
std::optional<int> descriptor_of(const std::filesystem::path &path) {
    if (path == "-") return STDOUT_FILENO;
    std::filesystem::path place = path;
    std::error_code error;
    for (int i = 0; i < most_links; ++i) {
        if (const auto number = number_in(place.string())) return number;
        const std::filesystem::path link = std::filesystem::read_symlink(place, error);
        if (error) return std::nullopt;
        place = place.parent_path() / link;
    }
    return std::nullopt;
}

Failure cannot_write(const std::filesystem::path &path, const std::string &why) {
    return bad_input(path.string() + ": cannot be written", why, {}, "choose a folder that exists and is writable");
}

int open_fifo(const std::filesystem::path &path) {
    for (int i = 0; i < fifo_polls; ++i) {
        const int descriptor = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (descriptor >= 0) {
            ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
            return descriptor;
        }
        if (errno != ENXIO) throw cannot_write(path, std::strerror(errno));
        std::this_thread::sleep_for(fifo_poll);
    }
    throw cannot_write(path, "no process has opened this FIFO for reading within 10 s");
}

/// Write a temporary file beside the file and rename it; false with `errno`.
bool replace(const std::filesystem::path &path, const std::string &content) {
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    const std::string pattern = folder / ("." + path.filename().string() + ".XXXXXX");
    std::vector<char> temporary(pattern.c_str(), pattern.c_str() + pattern.size() + 1);
    struct stat old {};
    const bool exists = ::stat(path.c_str(), &old) == 0;
    const int descriptor = ::mkstemp(temporary.data());
    if (descriptor < 0) return false;
    if (exists && (old.st_uid != ::geteuid() || old.st_gid != ::getegid()))
        if (::fchown(descriptor, old.st_uid, old.st_gid) != 0) errno = 0;  // only root may give a file away
    // mkstemp makes it private, but others read reports
    const mode_t mode = exists ? old.st_mode & 0777 : 0644;
    const bool placed = write_all(descriptor, content) && ::fchmod(descriptor, mode) == 0 && ::fsync(descriptor) == 0 &&
                        ::rename(temporary.data(), path.c_str()) == 0;
    const int error = errno;
    ::close(descriptor);
    if (!placed) ::unlink(temporary.data());
    errno = error;
    return placed;
}

}  // namespace

RegularFile::RegularFile(const std::filesystem::path &path, std::int64_t max_bytes) : path_(path) {
    struct stat found{};
    const auto refuse = [&path](const std::string &why) { return bad_input(path.string() + ": cannot be read", why); };
    if (::stat(path.c_str(), &found) != 0) throw refuse(std::strerror(errno));
    if (!S_ISREG(found.st_mode)) throw refuse("not a regular file");
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor_ < 0) throw refuse(std::strerror(errno));
    // What is open may be another file than was looked at.
    const bool regular = ::fstat(descriptor_, &found) == 0 && S_ISREG(found.st_mode);
    if (regular && found.st_size <= max_bytes) {
        size_ = static_cast<std::size_t>(found.st_size);
        return;
    }
    ::close(descriptor_);
    throw refuse(!regular ? "not a regular file"
                          : std::to_string(found.st_size) + " bytes, at most " + std::to_string(max_bytes) + " are read");
}

RegularFile::~RegularFile() { ::close(descriptor_); }

std::size_t RegularFile::read(char *target, std::size_t size) const {
    for (;;) {
        const ssize_t count = ::read(descriptor_, target, size);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno != EINTR) throw bad_input(path_.string() + ": cannot be read", std::strerror(errno));
    }
}

std::string read_file(const std::filesystem::path &path, std::int64_t max_bytes) {
    const RegularFile file(path, max_bytes);
    std::string content(file.size(), '\0');
    std::size_t done = 0;
    while (done < content.size()) {
        const std::size_t count = file.read(content.data() + done, content.size() - done);
        if (count == 0) throw bad_input(path.string() + ": cannot be read", "the file ended early");
        done += count;
    }
    return content;
}

bool is_plain(const std::string &name) {
    const std::filesystem::path path(name);
    const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
    return !name.empty() && !path.is_absolute() && !climbs && name.find('\\') == std::string::npos &&
           name.find('\0') == std::string::npos && path.lexically_normal() == path;
}

bool is_standard_output(const std::filesystem::path &path) { return descriptor_of(path) == STDOUT_FILENO; }

bool is_stream(const std::filesystem::path &path) {
    if (descriptor_of(path)) return true;
    struct stat found {};
    return ::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
}

int open_stream(const std::filesystem::path &path) {
    int descriptor = -1;
    struct stat found {};
    if (const auto number = descriptor_of(path)) {
        if (*number == STDOUT_FILENO) std::fflush(stdout);
        descriptor = ::dup(*number);
    } else if (::stat(path.c_str(), &found) == 0) {
        if (S_ISBLK(found.st_mode)) throw cannot_write(path, "is a block device, whose content would be overwritten");
        descriptor = S_ISFIFO(found.st_mode) ? open_fifo(path)
                                             : ::open(path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
    }
    if (descriptor < 0) throw cannot_write(path, std::strerror(errno));
    return descriptor;
}

bool write_all(int descriptor, const std::string &content) {
    std::size_t done = 0;
    while (done < content.size()) {
        const ssize_t wrote = ::write(descriptor, content.data() + done, content.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return false;
        done += static_cast<std::size_t>(wrote);
    }
    return true;
}

std::filesystem::path followed(const std::filesystem::path &path) {
    std::filesystem::path place = path;
    std::error_code error;
    for (int i = 0; i < most_links; ++i) {
        const std::filesystem::path link = std::filesystem::read_symlink(place, error);
        if (error) return place;
        place = place.parent_path() / link;
    }
    throw cannot_write(path, std::strerror(ELOOP));
}

void write_atomically(const std::filesystem::path &path, const std::string &content) {
    if (!is_stream(path)) {
        if (!replace(followed(path), content)) throw cannot_write(path, std::strerror(errno));
        return;
    }
    const int descriptor = open_stream(path);
    const bool written = write_all(descriptor, content);
    const int error = errno;
    ::close(descriptor);
    if (!written) throw cannot_write(path, std::strerror(error));
}

std::filesystem::path cache_folder() {
    if (const char *named = std::getenv("EDGEPROOF_CACHE")) return named;
    if (const char *caches = std::getenv("XDG_CACHE_HOME"); caches != nullptr && *caches != '\0')
        return std::filesystem::path(caches) / "edgeproof";
    const char *home = std::getenv("HOME");
    if (const passwd *user = home == nullptr ? ::getpwuid(::getuid()) : nullptr) home = user->pw_dir;
    return home == nullptr ? std::filesystem::path() : std::filesystem::path(home) / ".cache" / "edgeproof";
}

}  // namespace edgeproof
