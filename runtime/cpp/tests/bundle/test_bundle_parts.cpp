#include <fcntl.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "check.h"
#include "edgeproof/failure.h"
#include "edgeproof/latent.h"
#include "edgeproof/private_copy.h"
#include "files.h"
#include "json_text.h"
#include "npy.h"
#include "sha256.h"
#include "sha256_blocks.h"

using namespace edgeproof;

namespace {

std::string sha256(const std::string &text) {
    Sha256 hash;
    hash.update(text);
    return hash.hex();
}

template <class Action>
bool refused(Action action) {
    try {
        action();
    } catch (const Failure &failure) {
        return failure.code == ExitCode::bad_input;
    }
    return false;
}

struct Folder {
    std::filesystem::path path;
    Folder() {
        std::string pattern = std::filesystem::temp_directory_path() / "edgeproof-XXXXXX";
        path = ::mkdtemp(pattern.data());
    }
    ~Folder() { std::filesystem::remove_all(path); }
};

std::string npy_file(const std::string &descr, const std::string &order, const std::string &shape,
                     const std::string &values) {
    const std::string header =
        "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': (" + shape + "), }\n";
    std::string text("\x93NUMPY\x01\x00", 8);
    text += static_cast<char>(header.size() & 0xFF);
    text += static_cast<char>(header.size() >> 8);
    return text + header + values;
}

}  // namespace

// NIST's example values for SHA-256 (FIPS 180-4) and its test of a million letters.
TEST(sha256_vectors) {
    CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256_in_pieces) {
    std::string text;
    for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
    for (std::size_t piece = 1; piece < 150; ++piece) {
        Sha256 hash;
        for (std::size_t at = 0; at < text.size(); at += piece) hash.update(text.substr(at, piece));
        CHECK(hash.hex() == sha256(text));
    }
}

TEST(sha256_of_the_cpu_equals_the_portable_one) {
    const Sha256Blocks of_cpu = sha256_blocks_of_cpu();
    if (of_cpu == nullptr) return;  // the vectors above went the portable way then
    std::string text;
    for (unsigned i = 0, x = 1; i < 64 * 40; ++i, x = x * 1664525U + 1013904223U) text += static_cast<char>(x >> 24);
    const auto *bytes = reinterpret_cast<const unsigned char *>(text.data());
    for (std::size_t blocks = 0; blocks <= 40; ++blocks) {
        std::array<std::uint32_t, 8> one{1, 2, 3, 4, 5, 6, 7, 8}, other = one;
        sha256_blocks_portable(one.data(), bytes, blocks);
        of_cpu(other.data(), bytes, blocks);
        CHECK(one == other);
    }
}

TEST(half_precision) {
    CHECK(half_to_float(0x3C00) == 1.0F);
    CHECK(half_to_float(0xC000) == -2.0F);
    CHECK(half_to_float(0x0001) == 5.9604644775390625e-8F);
    CHECK(half_to_float(0x7BFF) == 65504.0F);
    CHECK(half_to_float(0x7C00) == std::numeric_limits<float>::infinity());
    CHECK(half_to_float(0x7E00) != half_to_float(0x7E00));
}

TEST(npy_reads_and_refuses) {
    const Npy array = parse_npy(npy_file("|u1", "False", "2, 3", "abcdef"), "a.npy");
    CHECK((array.shape == std::vector<std::int64_t>{2, 3}));
    CHECK(values_of(array).back() == 'f');
    const std::string bad[] = {"",
                               "NUMPY",
                               npy_file("<f8", "False", "1,", std::string(8, '\0')),
                               npy_file("|u1", "True", "2,", "ab"),
                               npy_file("|u1", "False", "3,", "ab"),
                               npy_file("|u1", "False", "-1,", "ab"),
                               npy_file("|u1", "False", "99999999999, 99999999999", "ab"),
                               npy_file("|u1", "False", "2,", "ab").substr(0, 20)};
    for (const std::string &content : bad)
        CHECK_WITH(refused([&content] { parse_npy(content, "a.npy"); }), content);
}

TEST(json_text_is_json) {
    using edgeproof::json::Array;
    using edgeproof::json::Object;
    using edgeproof::json::Value;
    const Value document{Object{{"text", {std::string("a\"\\\n\x01 \xc3\xa4 \xff")}},
                                {"numbers", {Array{integer(3), number(3), number(0.1), number(1e300), number(1e-7)}}},
                                {"nothing", {Array{number(std::numeric_limits<double>::quiet_NaN()), {}}}},
                                {"flag", {true}},
                                {"empty", {Object{}}}}};
    CHECK(to_text(document) ==
          "{\"text\": \"a\\\"\\\\\\u000a\\u0001 \xc3\xa4 \\\\xff\", \"numbers\": [3, 3.0, 0.1, 1e+300, 1e-07], "
          "\"nothing\": [null, null], \"flag\": true, \"empty\": {}}");
    CHECK(to_text(edgeproof::json::parse(to_text(document, true))) == to_text(document));
}

TEST(files_are_whole_or_absent) {
    const Folder folder;
    const auto file = folder.path / "report.json";
    write_atomically(file, "one");
    write_atomically(file, "two");
    CHECK(read_file(file) == "two");
    CHECK(refused([&folder] { write_atomically(folder.path / "missing" / "report.json", "x"); }));
    CHECK(refused([&folder] { read_file(folder.path); }));
    CHECK(refused([&file] { read_file(file, 2); }));
    CHECK(read_file(file, 3) == "two");
    const auto begin = std::filesystem::directory_iterator(folder.path);
    CHECK(std::distance(begin, std::filesystem::directory_iterator()) == 1);
}

TEST(what_is_no_regular_file_is_refused_without_waiting) {
    const Folder folder;
    const auto fifo = folder.path / "fifo";
    CHECK(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(refused([&fifo] { read_file(fifo); }));
    CHECK(refused([&fifo] { PrivateCopy(fifo, 1000); }));
    CHECK(refused([] { read_file("/dev/zero"); }));
    CHECK(refused([&folder] { PrivateCopy(folder.path / "missing", 1000); }));
}

TEST(a_private_copy_does_not_change_with_its_file) {
    const Folder folder;
    const auto file = folder.path / "model.onnx";
    const std::string content(700'000, 'm');
    write_atomically(file, content);
    const PrivateCopy copy(file, 1'000'000);
    write_atomically(file, "other");
    CHECK(copy.content() == content);
    CHECK(copy.sha256() == sha256(content));
    std::ifstream again(copy.path(), std::ios::binary);
    CHECK(std::string(std::istreambuf_iterator<char>(again), {}) == content);
    CHECK(::open(copy.path().c_str(), O_WRONLY | O_TRUNC) < 0);
    CHECK(refused([&file] { PrivateCopy(file, 4); }));
}

TEST(a_seed_means_the_numbers_that_it_means_in_python) {
    const auto cases = edgeproof::json::parse(read_file(GOLDEN_DIR "/latent.json"));
    for (const auto &golden : cases.array()) {
        const auto seed = static_cast<std::uint64_t>(golden.at("seed").number());
        std::uint64_t number = static_cast<std::uint64_t>(golden.at("first").integer());
        for (const auto &row : golden.at("numbers").array()) {
            const std::vector<float> found = latent_vector(seed, number++, row.array().size());
            for (std::size_t i = 0; i < found.size(); ++i)
                CHECK(std::abs(static_cast<double>(found[i]) - row.array()[i].number()) <= 0x1p-21);
        }
    }
}
