#include "report/growing.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>

#include "edgeproof/days.h"
#include "edgeproof/failure.h"
#include "files.h"

namespace edgeproof::app {
namespace {

constexpr std::int64_t seconds_of_day = 86'400;
constexpr std::uint64_t smallest = 1'000;
constexpr std::uint64_t largest = std::uint64_t{1} << 50;

Failure cannot_write(const std::filesystem::path &path) {
    return bad_input(path.string() + ": cannot be written", std::strerror(errno));
}

/// A name beside the file with the time in it, which does not exist yet. Throws `Failure` if the file cannot be moved.
void set_aside(const std::filesystem::path &file) {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char time[32];
    std::strftime(time, sizeof time, "%Y%m%dT%H%M%SZ", &utc);
    for (int number = 1;; ++number) {
        const std::string numbered = number == 1 ? std::string() : "-" + std::to_string(number);
        const std::filesystem::path free =
            file.parent_path() / (file.stem().string() + "." + time + numbered + file.extension().string());
        if (::link(file.c_str(), free.c_str()) == 0) {
            ::unlink(file.c_str());
            return;
        }
        if (errno == EEXIST) continue;
        // A file system without hard links.
        if (::access(free.c_str(), F_OK) == 0) continue;
        if (::rename(file.c_str(), free.c_str()) != 0) throw cannot_write(file);
        return;
    }
}

}  // namespace

Rotation parse_rotation(const std::string &text) {
    if (text == "day") return {std::nullopt, true};
    static const std::map<std::string, std::uint64_t> units{
        {"kB", 1'000},        {"KB", 1'000},         {"MB", 1'000'000},     {"GB", 1'000'000'000},
        {"kiB", 1ULL << 10U}, {"KiB", 1ULL << 10U}, {"MiB", 1ULL << 20U}, {"GiB", 1ULL << 30U}};
    std::uint64_t number = 0;
    const char *end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, number);
    const auto unit = units.find(std::string(stopped, end));
    if (error != std::errc() || unit == units.end() || number > largest / unit->second ||
        number * unit->second < smallest)
        throw bad_input("--rotate-files: not a size or day", "'" + text + "'", "day, or a size such as 100MB");
    return {number * unit->second, false};
}

GrowingFile::GrowingFile(std::filesystem::path path, const Rotation &rotation)
    : path_(std::move(path)), rotation_(rotation), stream_(is_stream(path_)) {
    open();
}

GrowingFile::~GrowingFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void GrowingFile::open() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
    if (stream_) {
        descriptor_ = open_stream(path_);
        return;
    }
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    struct stat found {};
    if (descriptor_ < 0 || ::fstat(descriptor_, &found) != 0) throw cannot_write(path_);
    day_ = (found.st_size > 0 ? found.st_mtime : std::time(nullptr)) / seconds_of_day;
    char last = '\n';
    // A run was killed, or the power failed, within a line.
    if (found.st_size > 0 && ::pread(descriptor_, &last, 1, found.st_size - 1) == 1 && last != '\n' &&
        !write_all(descriptor_, "\n"))
        throw cannot_write(path_);
}

void GrowingFile::follow(std::size_t more) {
    struct stat own {};
    struct stat found {};
    const bool there = ::fstat(descriptor_, &own) == 0 && ::stat(path_.c_str(), &found) == 0 &&
                       own.st_dev == found.st_dev && own.st_ino == found.st_ino;
    if (!there || broken_) {
        open();
        return;
    }
    const auto size = static_cast<std::uint64_t>(found.st_size);
    const bool full = rotation_.max_bytes && size > 0 && size + more > *rotation_.max_bytes;
    if (full || (rotation_.daily && is_new_day(day_, std::time(nullptr) / seconds_of_day))) {
        set_aside(std::filesystem::canonical(path_));
        open();
    }
}

void GrowingFile::write(const std::string &line) {
    if (!stream_) follow(line.size() + 1);
    broken_ = true;
    if (!write_all(descriptor_, line + "\n")) throw cannot_write(path_);
    broken_ = false;
}

}  // namespace edgeproof::app
