#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <utility>

#include "check.h"
#include "edgeproof/error.h"
#include "edgeproof/preprocess.h"

using namespace edgeproof;

namespace {

std::size_t allocations = 0;

std::vector<std::uint8_t> noise(std::size_t bytes) {
    std::mt19937 random(5);
    std::vector<std::uint8_t> pixels(bytes);
    for (auto &value : pixels) value = static_cast<std::uint8_t>(random());
    return pixels;
}

std::vector<float> tensor_of(const Contract &contract, const Frame &frame, const PreprocessOptions &options = {}) {
    Preprocessor preprocess(contract, options);
    std::vector<float> tensor(contract.slot_bytes() / sizeof(float));
    preprocess(frame, tensor.data());
    return tensor;
}

Contract squash(int height, int width, Filter filter = Filter::bilinear) {
    Contract contract;
    contract.resize = ResizeMode::squash;
    contract.resize_size = {height, width};
    contract.crop_size.reset();
    contract.filter = filter;
    return contract;
}

}  // namespace

void *operator new(std::size_t size) {
    ++allocations;
    if (void *memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

TEST(every_simd_level_and_any_number_of_threads_give_the_same_bits) {
    const auto pixels = noise(1201 * 907 * 3);
    const Frame frame = Frame::packed(pixels.data(), 1201, 907, 3);
    for (const Filter filter : {Filter::nearest, Filter::box, Filter::bilinear, Filter::bicubic, Filter::lanczos})
        for (const Color color : {Color::rgb, Color::gray}) {
            Contract contract = squash(200, 300, filter);
            contract.color = color;
            contract.mean.resize(static_cast<std::size_t>(contract.channels()));
            contract.std.resize(static_cast<std::size_t>(contract.channels()));
            contract.fill.resize(static_cast<std::size_t>(contract.channels()));
            const auto expected = tensor_of(contract, frame, {1, "portable"});
            for (const std::string &simd : simd_levels())
                for (const int threads : {1, 2, 5}) CHECK(tensor_of(contract, frame, {threads, simd}) == expected);
        }
}

TEST(strides_of_any_kind_give_what_packed_pixels_give) {
    constexpr int height = 33;
    constexpr int width = 29;
    const auto pixels = noise(height * width * 3);
    const Contract contract = squash(12, 11);
    const auto expected = tensor_of(contract, Frame::packed(pixels.data(), height, width, 3));
    // planes of R, G, B, rows bottom up, columns right to left, with odd gaps
    constexpr std::ptrdiff_t column = -2;
    constexpr std::ptrdiff_t row = -(2 * width + 7);
    constexpr std::ptrdiff_t plane = -row * height;
    std::vector<std::uint8_t> spread(3 * plane);
    std::uint8_t *first = spread.data() + (height - 1) * -row + (width - 1) * -column;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int c = 0; c < 3; ++c)
                first[y * row + x * column + (2 - c) * plane] =
                    pixels[static_cast<std::size_t>((y * width + x) * 3 + c)];
    Frame frame{first, height, width, 3, Color::rgb, row, column, plane};
    for (const std::string &simd : simd_levels()) CHECK(tensor_of(contract, frame, {1, simd}) == expected);
}

TEST(frames_end_where_their_memory_ends) {
    // Exactly sized heap blocks: a sanitizer sees every byte read past a frame or written past a tensor.
    for (const Filter filter : {Filter::nearest, Filter::box, Filter::bilinear, Filter::lanczos})
        for (int side = 1; side < 40; ++side)
            for (const int channels : {1, 3}) {
                const auto bytes = static_cast<std::size_t>(side * (41 - side) * channels);
                const auto pixels = noise(bytes);
                const Frame frame = Frame::packed(pixels.data(), side, 41 - side, channels);
                const Contract contract = squash(41 - side, side, filter);
                const auto expected = tensor_of(contract, frame, {1, "portable"});
                for (const std::string &simd : simd_levels()) CHECK(tensor_of(contract, frame, {1, simd}) == expected);
            }
}

TEST(a_frame_of_a_known_size_allocates_nothing) {
    const auto pixels = noise(1080 * 1920 * 3);
    Contract contract;
    for (const int threads : {1, 2}) {
        Preprocessor preprocess(contract, {threads, {}});
        std::vector<float> tensor(contract.slot_bytes() / sizeof(float));
        const Frame landscape = Frame::packed(pixels.data(), 1080, 1920, 3);
        const Frame portrait = Frame::packed(pixels.data(), 1920, 1080, 3);
        preprocess(landscape, tensor.data());
        preprocess(portrait, tensor.data());
        const std::size_t before = allocations;
        for (int i = 0; i < 3; ++i) {
            preprocess(landscape, tensor.data());
            preprocess(portrait, tensor.data());
        }
        CHECK(allocations == before);
    }
}

TEST(more_frame_sizes_than_are_kept) {
    const auto pixels = noise(100 * 100 * 3);
    const Contract contract = squash(7, 7);
    Preprocessor preprocess(contract);
    std::vector<float> tensor(contract.slot_bytes() / sizeof(float));
    for (int round = 0; round < 2; ++round)
        for (int side = 60; side < 80; ++side) {
            const Frame frame = Frame::packed(pixels.data(), side, side + 3, 3);
            preprocess(frame, tensor.data());
            CHECK(tensor == tensor_of(contract, frame));
        }
}

TEST(bad_frames_are_refused) {
    const auto pixels = noise(64);
    Preprocessor preprocess(squash(4, 4));
    std::vector<float> tensor(3 * 4 * 4 + 1);
    const auto run = [&](const Frame &frame) {
        preprocess(frame, tensor.data());
        return 0;
    };
    CHECK_THROWS(run(Frame::packed(pixels.data(), 0, 4, 3)), frame);
    CHECK_THROWS(run(Frame::packed(pixels.data(), 4, -1, 3)), frame);
    CHECK_THROWS(run(Frame::packed(pixels.data(), 4, 4, 4)), frame);
    CHECK_THROWS(run(Frame::packed(pixels.data(), 4, 4, 2)), frame);
    CHECK_THROWS(run(Frame::packed(nullptr, 4, 4, 3)), frame);
    CHECK_THROWS(run(Frame::packed(pixels.data(), 4, 4, 3, Color::gray)), frame);
    CHECK_THROWS(run(Frame::packed(pixels.data(), 4, std::int64_t{1} << 40, 3)), frame);
    const auto misaligned = [&] {
        preprocess(Frame::packed(pixels.data(), 4, 4, 3), reinterpret_cast<char *>(tensor.data()) + 1);
        return 0;
    };
    CHECK_THROWS(misaligned(), frame);
    Preprocessor thin{Contract{}};
    std::vector<float> slot(3 * 224 * 224);
    const auto long_and_thin = [&] {
        thin(Frame::packed(pixels.data(), 1, 8192, 1, Color::gray), slot.data());
        return 0;
    };
    CHECK_THROWS(long_and_thin(), frame);
    CHECK_THROWS(Preprocessor(squash(4, 4), {0, {}}), contract);
    CHECK_THROWS(Preprocessor(squash(4, 4), {1, "mmx"}), contract);
}

TEST(a_frame_of_32k_by_32k) {
    // One row of pixels seen 32768 times: the size counts, not the memory.
    const auto row = noise(3 * 32768);
    for (const auto &[width, filter] : {std::pair{32768, Filter::nearest}, std::pair{2048, Filter::box}}) {
        Frame frame = Frame::packed(row.data(), 32768, width, 3);
        frame.row_stride = 0;
        const Frame single = Frame::packed(row.data(), 1, width, 3);
        const Contract contract = squash(2, 16, filter);
        CHECK(tensor_of(contract, frame) == tensor_of(contract, single));
    }
}
