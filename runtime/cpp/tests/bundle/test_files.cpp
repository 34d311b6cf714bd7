#include "files.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "check.h"
#include "edgeproof/failure.h"
#include "edgeproof/json.h"
#include "json_text.h"
#include "printable.h"

namespace fs = std::filesystem;
using namespace edgeproof;

namespace {

/// An empty folder of this test.
fs::path scratch(const std::string &name) {
    const fs::path folder = fs::temp_directory_path() / ("edgeproof-files-" + std::to_string(::getpid())) / name;
    fs::create_directories(folder);
    return folder;
}

mode_t kind(const fs::path &path) {
    struct stat found {};
    return ::lstat(path.c_str(), &found) == 0 ? found.st_mode & S_IFMT : 0;
}

bool refuses(const fs::path &path) {
    try {
        write_atomically(path, "x");
    } catch (const Failure &failure) {
        return failure.code == ExitCode::bad_input;
    }
    return false;
}

}  // namespace

TEST(an_error_in_one_line_keeps_apart_what_it_names) {
    CHECK(one_line(bad_input("a.jpg: no image", "13 bytes\nof  text", "JPEG", "mend it")) ==
          "a.jpg: no image; got: 13 bytes; of text; expected: JPEG; fix: mend it");
}

TEST(terminals_and_json_get_what_the_golden_cases_say) {
    const json::Value cases = json::parse(read_file(fs::path(GOLDEN_DIR) / "printable.json"));
    for (const auto &golden : cases.array()) {
        const std::string found = printable(golden.at("text").string());
        CHECK_WITH(found == golden.at("printable").string(), found);
        const std::string text = to_text(golden.at("text"));
        CHECK_WITH(json::parse(text).string() == golden.at("text").string(), text);
        if (const auto *expected = golden.find("json")) CHECK_WITH(text == expected->string(), text);
    }
    CHECK(printable("a\xff" "b\xc3") == "a\\xffb\\xc3");
}

TEST(links_stay_and_what_they_name_is_written) {
    const fs::path folder = scratch("links");
    fs::create_symlink("file", folder / "link");
    for (const char *content : {"one", "two"}) {  // first the link dangles
        write_atomically(folder / "link", content);
        CHECK(kind(folder / "link") == S_IFLNK);
        CHECK(read_file(folder / "file") == content);
    }
    fs::create_symlink("b", folder / "a");
    fs::create_symlink("a", folder / "b");
    CHECK(refuses(folder / "a"));
    CHECK(refuses(folder));
    CHECK(refuses(folder / "file/below"));
}

TEST(the_mode_of_a_replaced_file_is_kept) {
    const fs::path file = scratch("mode") / "file";
    write_atomically(file, "one");
    CHECK((fs::status(file).permissions() & fs::perms::mask) == static_cast<fs::perms>(0644));
    fs::permissions(file, static_cast<fs::perms>(0600));
    write_atomically(file, "two");
    CHECK((fs::status(file).permissions() & fs::perms::mask) == static_cast<fs::perms>(0600));
}

TEST(a_fifo_gets_the_content_and_stays) {
    const fs::path fifo = scratch("fifo") / "fifo";
    CHECK(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(is_stream(fifo));
    std::string got;
    std::thread reader([&] {
        std::ifstream file(fifo);
        got.assign(std::istreambuf_iterator<char>(file), {});
    });
    const std::string content(1 << 18, 'x');  // more than a FIFO holds
    write_atomically(fifo, content);
    reader.join();
    CHECK(got == content);
    CHECK(kind(fifo) == S_IFIFO);
}

TEST(a_device_stays_a_device) {
    const fs::path folder = scratch("devices");
    const bool made = ::mknod((folder / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0 &&
                      ::mknod((folder / "full").c_str(), S_IFCHR | 0666, makedev(1, 7)) == 0 &&
                      std::ofstream(folder / "null").good();
    if (!made) return;  // only root may make devices, and not in every container
    write_atomically(folder / "null", "x");
    CHECK(refuses(folder / "full"));
    CHECK(kind(folder / "null") == S_IFCHR);
    CHECK(kind(folder / "full") == S_IFCHR);
}

TEST(standard_output_has_names) {
    for (const char *name : {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}) CHECK(is_standard_output(name));
    for (const char *name : {"/dev/stderr", "/dev/fd/x", "/dev/fd/", "file", ""}) CHECK(!is_standard_output(name));
    CHECK(is_stream("/dev/stderr"));
    CHECK(!is_stream("file"));
}

TEST(nothing_is_left) {
    const fs::path folder = scratch("").parent_path();
    for (const auto &entry : fs::recursive_directory_iterator(folder))
        CHECK_WITH(entry.path().filename().string().front() != '.', entry.path().string());
    fs::remove_all(folder);
}
