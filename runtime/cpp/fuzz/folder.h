#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace edgeproof::fuzz {

/// A folder of this process in TMPDIR; removed at its end.
class Folder {
  public:
    Folder() {
        std::string pattern = std::filesystem::temp_directory_path() / "edgeproof-fuzz-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path = pattern;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;

    void write(const std::string &name, const void *data, std::size_t size) const {
        std::FILE *file = std::fopen((path / name).c_str(), "wb");
        if (file == nullptr || std::fwrite(data, 1, size, file) != size || std::fclose(file) != 0) std::abort();
    }

    std::filesystem::path path;
};

}  // namespace edgeproof::fuzz
